//! Short addresses of the dashboard that sign somebody in once: the local Supabase makes them.

use std::process::ExitCode;

use anyhow::{Result, bail};
use clap::Args;
use serde_json::json;
use ureq::http::Method;

use crate::http::{Http, text};
use crate::place::Place;
use crate::stack_file::StackFile;

/// Who is signed in, and to which stack.
#[derive(Args)]
pub(crate) struct SignInOptions {
    /// As a member, who may watch and admit; else as an admin
    #[arg(long)]
    member: bool,
    /// The stack that was started with this --name
    #[arg(long, value_name = "NAME")]
    name: Option<String>,
}

pub(crate) fn run(options: &SignInOptions) -> Result<ExitCode> {
    let place = options.name.as_deref().map_or_else(Place::local, Place::beside)?;
    let role = if options.member { "member" } else { "admin" };
    println!("{}", address(&StackFile::read(&place)?, role)?);
    Ok(ExitCode::SUCCESS)
}

/// A new one, for the demo user of that role.
pub(crate) fn address(file: &StackFile, role: &str) -> Result<String> {
    let page = file.dashboard_url.split('#').next().unwrap_or_default();
    let wanted = json!({ "type": "magiclink", "email": format!("{role}@example.com"), "redirect_to": page });
    let supabase = Http::new(file.postgrest_url.trim_end_matches("/rest/v1"), Some(&file.service_key));
    let answer = supabase.send(Method::POST, "/auth/v1/admin/generate_link", &[], &wanted.to_string())?;
    let link = text(&answer.body, "action_link");
    if !answer.ok() || link.is_empty() {
        bail!("the local Supabase makes no address: {} ({})", text(&answer.body, "msg"), answer.status);
    }
    Ok(link.to_owned())
}

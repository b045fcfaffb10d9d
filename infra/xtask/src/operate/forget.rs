//! Forgets a person: names, e-mail addresses and phone numbers go from their orders in the database and don't come back.
//!
//! An admin's `POST /api/qrapp/contacts/{id}/forget` does the same. This goes past the API, for whoever answers such requests and has no
//! session there.

use std::process::ExitCode;

use anyhow::{Context, Result, bail};
use clap::Args;
use domain::ContactId;
use serde_json::{Value, json};

use crate::http::{number, text};
use crate::operate::ask;
use crate::operate::aws::Aws;
use crate::operate::supabase::Supabase;
use crate::place::Place;
use crate::progress::OrderBar;
use crate::stop;

pub(crate) const EXAMPLES: &str = "\
Examples:
  cargo xtask forget --stack ghl-sync --contact ocQHyuzHvysMo5N5VsXc
  cargo xtask forget --stack ghl-sync --contact ocQHyuzHvysMo5N5VsXc --by 'request 17' --yes

The id is the contact's in GHL: it ends the address of the contact's page there, and stands in ghl_qr_orders.contact_id. What can't be
brought back: names, e-mail addresses and phone numbers in the contact's orders. What stays: the orders, their tickets and counts, and the
id, by which what is written later is recognised. GHL keeps its own copy: delete the contact there too. Without --stack it is the local
stack that runs. Needs, in AWS: cloudformation:DescribeStacks and ListStackResources, ssm:GetParameters. It may be repeated.";

#[derive(Args)]
pub(crate) struct ForgetOptions {
    /// The contact's id in GHL
    #[arg(long, value_name = "ID")]
    contact: ContactId,
    /// What the record says of who wanted it, such as the number of a request; no name of the person
    #[arg(long, value_name = "WHO", default_value = "an operator")]
    by: String,
    /// The CloudFormation stack; else the local stack
    #[arg(long, value_name = "NAME")]
    stack: Option<String>,
    /// AWS region; else AWS_REGION, else the profile's
    #[arg(long, requires = "stack")]
    region: Option<String>,
    /// Forget without asking
    #[arg(long)]
    yes: bool,
}

pub(crate) fn run(options: &ForgetOptions) -> Result<ExitCode> {
    let (aws, deployment) = Aws::of_stack(&Place::local()?, options.stack.as_deref(), options.region.as_deref())?;
    let supabase = Supabase::of(&aws, &deployment)?;
    let location = deployment.parameter("LocationId")?;
    let question = format!("Forget the contact {} of {location}? Nobody can bring it back", options.contact);
    if !ask::agreed(options.yes, &question, "--yes")? {
        println!("Nobody is forgotten.");
        return Ok(ExitCode::FAILURE);
    }
    println!("{}", told(&until_done(&supabase, options)?)?);
    Ok(ExitCode::SUCCESS)
}

/// Asks for one portion after the other.
fn until_done(supabase: &Supabase, options: &ForgetOptions) -> Result<Value> {
    let mut bar = OrderBar::start();
    loop {
        let answer =
            supabase.call("forget_contact", json!({ "contact_id": options.contact.as_str(), "by": options.by }))?;
        if !answer.ok() {
            bail!(
                "Supabase refuses forget_contact with status {}: see cargo xtask configure --stack <name> --check. Repeat this command: \
                 it goes on where it was",
                answer.status
            );
        }
        if answer.body.get("done").and_then(Value::as_bool).context("Supabase answers forget_contact without done")? {
            bar.finish();
            return Ok(answer.body);
        }
        if stop::requested() {
            bail!("interrupted: repeat this command, it goes on where it was");
        }
        bar.show("blanked", number(&answer.body, "orders"), number(&answer.body, "orders"), "Ctrl-C stops");
    }
}

/// What was done, and when: perhaps by an earlier command.
fn told(answer: &Value) -> Result<String> {
    let (orders, contact) = (number(answer, "orders"), text(answer, "contact_id"));
    let at: jiff::Timestamp = text(answer, "forgotten_at").parse().context("Supabase answers with no time")?;
    let done = format!("Forgotten since {at:.0}, by {}: {contact}", text(answer, "forgotten_by"));
    Ok(match orders {
        0 => format!(
            "{done}. No order here was theirs: check the id. An order that still comes is stored without name and address."
        ),
        orders => format!("{done}. Blanked in {orders} order(s); their tickets are as they were."),
    } + " GHL keeps its own copy: delete the contact there too.")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_done_is_told_and_that_nothing_was_found_too() {
        let answer = |orders| {
            json!({
                "contact_id": "c1", "forgotten_at": "2026-05-01T12:00:00.5+02:00", "forgotten_by": "request 17",
                "orders": orders, "done": true,
            })
        };
        let said = told(&answer(2)).unwrap();
        assert!(
            said.starts_with("Forgotten since 2026-05-01T10:00:00Z, by request 17: c1. Blanked in 2 order(s)"),
            "{said}"
        );
        assert!(told(&answer(0)).unwrap().contains("No order here was theirs: check the id"));
        assert!(told(&json!({})).is_err());
    }
}

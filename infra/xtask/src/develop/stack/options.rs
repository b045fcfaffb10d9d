//! How a stack is made.

use anyhow::Result;
use clap::Args;

use crate::account;
use crate::place::Place;

/// How the stack of `up` and `demo` is made.
#[derive(Args)]
pub(crate) struct StackOptions {
    /// How many valid orders the fake GHL has
    #[arg(long, default_value_t = 150, value_name = "N")]
    pub(crate) orders: u32,
    /// The same seed gives the same orders
    #[arg(long, default_value_t = 1, value_name = "S")]
    pub(crate) seed: u64,
    /// An outside GHL instead of the fake one; GHL_LOCATION_ID and GHL_ACCESS_TOKEN say whose, if it checks them
    #[arg(long, value_name = "URL")]
    pub(crate) ghl_url: Option<String>,
    /// How long the fake GHL waits before it answers
    #[arg(long, default_value_t = 0, value_name = "M")]
    pub(crate) ghl_latency_ms: u64,
    /// First of five ports: local cloud, Postgres, PostgREST, local Supabase, fake GHL
    #[arg(long, default_value_t = Self::PORT_BASE, value_name = "P")]
    pub(crate) port_base: u16,
    /// Keep this stack's state apart, in target/local/stacks/NAME: for one beside another, with another --port-base
    #[arg(long, value_name = "NAME")]
    pub(crate) name: Option<String>,
    /// Deploy to the local AWS account of the stack with this --port-base, beside that one, as ghl-sync-NAME
    #[arg(long, value_name = "P", requires = "name", conflicts_with = "by_sam")]
    pub(crate) account_of: Option<u16>,
    /// Start with an empty database
    #[arg(long)]
    pub(crate) reset: bool,
    /// As in a project of the original app: its two tables were there first, and stay open to the anonymous key
    #[arg(long)]
    pub(crate) original: bool,
    /// Concurrent executions of the local AWS account; a new one has ten
    #[arg(long, default_value_t = account::SMALLEST, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    pub(crate) concurrency: u32,
    /// The database is in another region: each call takes 40 ms, at times 300 ms, now and then 2 s
    #[arg(long)]
    pub(crate) far: bool,
    /// Shorten every wait (cool-down, retries, GHL's window, time-outs), as the fault tests do
    #[arg(long)]
    pub(crate) brisk: bool,
    /// Deploy as to AWS, by `sam build` and `sam deploy`: half a minute longer
    #[arg(long = "sam", conflicts_with = "brisk")]
    pub(crate) by_sam: bool,
}

impl StackOptions {
    pub(crate) const PORT_BASE: u16 = 8400;

    /// What it is called in its account.
    pub(crate) fn stack_name(&self) -> String {
        match (&self.name, self.account_of) {
            (Some(name), Some(_)) => format!("ghl-sync-{name}"),
            _ => "ghl-sync".to_owned(),
        }
    }

    /// Where the stack's state is.
    pub(crate) fn place(&self) -> Result<Place> {
        self.name.as_deref().map_or_else(Place::local, Place::beside)
    }
}

impl Default for StackOptions {
    fn default() -> Self {
        Self {
            orders: 150,
            seed: 1,
            ghl_url: None,
            ghl_latency_ms: 0,
            port_base: Self::PORT_BASE,
            name: None,
            account_of: None,
            reset: false,
            original: false,
            concurrency: account::SMALLEST,
            far: false,
            brisk: false,
            by_sam: false,
        }
    }
}

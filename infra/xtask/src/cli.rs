//! Commands and options.

use std::process::ExitCode;

use anyhow::Result;
use clap::{Args, Parser, Subcommand, ValueEnum};

use crate::place::Place;
use crate::postgres::Durability;
use crate::stack::Stack;
use crate::{bench, configure, demo, drive, migrate, redrive, sam_local, setup, suites, test};

/// Runs, tests and drives ghl-sync on this machine.
#[derive(Parser)]
#[command(name = "cargo xtask", bin_name = "cargo xtask")]
struct Cli {
    #[command(subcommand)]
    command: Task,
}

/// Of the benchmark.
const PARTS: [&str; 8] = ["full", "seed", "incremental", "webhooks", "fan-out", "throughput", "start-up", "simulation"];

#[derive(Subcommand)]
enum Task {
    /// Start the whole system; stays in the foreground until Ctrl-C
    Up(StackOptions),
    /// Start the whole system and run a full sync in it, with a progress bar and a summary
    Demo {
        #[command(flatten)]
        stack: StackOptions,
        /// Stop after the sync; status 0 only if every order has its outcome and the database agrees
        #[arg(long)]
        exit: bool,
    },
    /// Run the tests: all suites, or those named
    Test {
        /// Which suites; all if none is named
        #[arg(value_enum)]
        suites: Vec<suites::Suite>,
        /// First of seven ports for the stack that the tests start
        #[arg(long, default_value_t = test::PORT_BASE)]
        port_base: u16,
    },
    /// Run every function in a container with `sam local` and check every route; needs Docker
    SamLocal {
        /// Check nothing: stay in the foreground until Ctrl-C, beside a stack as `up` starts it
        #[arg(long)]
        stay: bool,
        /// First of seven ports: those of `up`, start-api, start-lambda [default: 8500, with --stay 8400]
        #[arg(long)]
        port_base: Option<u16>,
    },
    /// Measure how fast a sync is and what it costs, and write tests/bench/RESULTS.md; takes about 40 minutes
    Bench {
        /// Only counts that don't depend on the machine, in a minute or two; status 1 if one has grown
        #[arg(long)]
        quick: bool,
        /// The largest full sync: 5000 or, in a quarter of the time, 1000
        #[arg(long, default_value_t = 5000, value_parser = clap::value_parser!(u32).range(1000..), conflicts_with_all = ["quick", "parts"])]
        largest: u32,
        /// Only these parts, printed and not written
        #[arg(conflicts_with = "quick", value_parser = PARTS)]
        parts: Vec<String>,
        /// First of five ports for the stack that the benchmark starts
        #[arg(long, default_value_t = 8600)]
        port_base: u16,
    },
    /// Start a sync in the running stack and follow it to its end
    Sync {
        /// Fetch every order, or only what changed
        #[arg(long, value_enum, default_value_t = Mode::Full)]
        mode: Mode,
    },
    /// Show the running stack's state: the current or last run, and what failed
    Status,
    /// Send a signed webhook for an order to the running stack
    Webhook {
        /// The order's id in GHL: 24 hexadecimal digits
        order_id: String,
    },
    /// Apply the Supabase migrations to a database: shows what is to be done, asks, and applies each in a transaction of its own
    Migrate(migrate::Options),
    /// Check access to GHL, Supabase and AWS, and write the secrets into AWS's parameter store
    #[command(after_long_help = configure::EXAMPLES)]
    Configure(configure::Options),
    /// Send orders that failed for good through the queues again
    #[command(after_long_help = redrive::EXAMPLES)]
    Redrive(redrive::Options),
    /// Install everything that the other commands need, SAM included
    Setup,
}

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
    /// Start with an empty database
    #[arg(long)]
    pub(crate) reset: bool,
    /// Shorten every wait (cool-down, retries, GHL's window, time-outs), as the fault tests do
    #[arg(long)]
    pub(crate) brisk: bool,
    /// Deploy as to AWS, by `sam build` and `sam deploy`: half a minute longer
    #[arg(long = "sam", conflicts_with = "brisk")]
    pub(crate) by_sam: bool,
}

impl StackOptions {
    pub(crate) const PORT_BASE: u16 = 8400;
}

impl Default for StackOptions {
    fn default() -> Self {
        Self {
            orders: 150,
            seed: 1,
            ghl_url: None,
            ghl_latency_ms: 0,
            port_base: Self::PORT_BASE,
            reset: false,
            brisk: false,
            by_sam: false,
        }
    }
}

#[derive(Clone, Copy, ValueEnum)]
pub(crate) enum Mode {
    /// Every order
    Full,
    /// Orders that are new or changed
    Incremental,
}

pub(crate) fn run() -> Result<ExitCode> {
    match Cli::parse().command {
        Task::Up(options) => up(&options),
        Task::Demo { stack, exit } => demo::run(&stack, exit),
        Task::Test { suites, port_base } => test::run(&suites, port_base),
        Task::SamLocal { stay, port_base } => sam_local::run(stay, port_base),
        Task::Bench { quick, largest, parts, port_base } => bench::run(quick, largest, &parts, port_base),
        Task::Sync { mode } => drive::sync(mode),
        Task::Status => drive::status(),
        Task::Webhook { order_id } => drive::webhook(&order_id),
        Task::Migrate(options) => migrate::run(&options),
        Task::Configure(options) => configure::run(&options),
        Task::Redrive(options) => redrive::run(&options),
        Task::Setup => {
            let place = Place::local()?;
            setup::for_stack(&place)?;
            setup::for_sam(&place)?;
            Ok(ExitCode::SUCCESS)
        }
    }
}

fn up(options: &StackOptions) -> Result<ExitCode> {
    let place = Place::local()?;
    let mut stack = Stack::start(&place, options, Durability::Kept)?;
    stack.introduce();
    stack.stay()?;
    eprintln!("stopping ...");
    drop(stack);
    Ok(ExitCode::SUCCESS)
}

//! Commands and options.

use std::process::ExitCode;

use anyhow::Result;
use clap::{Parser, Subcommand};

use crate::account;
use crate::develop::drive::{self, Mode};
use crate::develop::migration::{self, MigrationCommand};
use crate::develop::package::{self, PackageOptions};
use crate::develop::sign_in::{self, SignInOptions};
use crate::develop::stack::options::StackOptions;
use crate::develop::test::Setting;
use crate::develop::test::suites::Suite;
use crate::develop::test::wanted::{Wanted, Word, word};
use crate::develop::{bench, demo, lighthouse, sam_local, screenshots, test, up};
use crate::operate::check::{self, CheckOptions};
use crate::operate::configure::{self, ConfigureOptions};
use crate::operate::deploy::{self, DeployOptions};
use crate::operate::forget::{self, ForgetOptions};
use crate::operate::migrate::{self, MigrateOptions};
use crate::operate::redrive::{self, RedriveOptions};
use crate::place::Place;
use crate::setup;

/// Runs, tests and drives ghl-sync on this machine.
#[derive(Parser)]
#[command(name = "cargo xtask", bin_name = "cargo xtask")]
struct Cli {
    #[command(subcommand)]
    command: XtaskCommand,
}

/// Of the benchmark.
const PARTS: [&str; 11] = [
    "start-up",
    "seed",
    "full",
    "far",
    "incremental",
    "incremental-100000",
    "webhooks",
    "crowd",
    "throughput",
    "simulation",
    "fan-out",
];

#[derive(Subcommand)]
enum XtaskCommand {
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
    /// Run the tests: all suites, or those named; or of one suite the tests whose names hold one of the words after it, on the
    /// stack of `up` if that is running
    Test {
        /// Suites, or one suite and parts of tests' names
        #[arg(value_name = "SUITE [NAME]", value_parser = word)]
        words: Vec<Word>,
        /// First of seven ports for the stack that the tests start
        #[arg(long, default_value_t = test::PORT_BASE)]
        port_base: u16,
        /// Concurrent executions of the local AWS account; a new one has ten
        #[arg(long, default_value_t = account::SMALLEST, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
        concurrency: u32,
        /// The stacks' databases are in another region: each call takes 40 ms, at times 300 ms, now and then 2 s
        #[arg(long)]
        far: bool,
        /// Also the database tests that take minutes: a million orders, a day of runs over a hundred thousand
        #[arg(long)]
        long: bool,
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
    /// Measure how fast a sync is and what it costs, and write tests/bench/RESULTS.md after each part; takes about 50 minutes; status 1
    /// if a part couldn't be measured
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
        #[arg(long, default_value_t = bench::PORT_BASE)]
        port_base: u16,
    },
    /// Judge the running stack's dashboard with Lighthouse, signed out and signed in; status 1 if a figure is below 100
    Lighthouse {
        /// The stack that was started with this --name
        #[arg(long, value_name = "NAME")]
        name: Option<String>,
    },
    /// Take the README's pictures anew, on a stack of their own
    Screenshots {
        /// First of five ports for that stack
        #[arg(long, default_value_t = screenshots::PORT_BASE)]
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
    /// Print an address of the running stack's dashboard that signs in once
    SignIn(SignInOptions),
    /// Send a signed webhook for an order to the running stack
    Webhook {
        /// The order's id in GHL: 24 hexadecimal digits
        order_id: String,
    },
    /// Apply the Supabase migrations to a database: shows what is to be done, asks, and applies each in a transaction of its own
    Migrate(MigrateOptions),
    /// Write the next migration
    #[command(subcommand)]
    Migration(MigrationCommand),
    /// Check access to GHL, Supabase and AWS, and write the secrets into AWS's parameter store
    #[command(after_long_help = configure::EXAMPLES)]
    Configure(ConfigureOptions),
    /// Build what a release deploys, once for every environment
    Package(PackageOptions),
    /// Deploy what `package` has built, or go back to what it built before
    #[command(after_long_help = deploy::EXAMPLES)]
    Deploy(DeployOptions),
    /// Look at a deployed stack from outside: what must be refused is, what must answer does
    #[command(after_long_help = check::EXAMPLES)]
    Check(CheckOptions),
    /// Send orders that failed for good through the queues again
    #[command(after_long_help = redrive::EXAMPLES)]
    Redrive(RedriveOptions),
    /// Forget a person: blank names, e-mail addresses and phone numbers in their orders, for good
    #[command(after_long_help = forget::EXAMPLES)]
    Forget(ForgetOptions),
    /// Install everything that the other commands need, SAM included
    Setup,
}

pub(crate) fn run() -> Result<ExitCode> {
    match Cli::parse().command {
        XtaskCommand::Up(options) => up::run(&options),
        XtaskCommand::Demo { stack, exit } => demo::run(&stack, exit),
        XtaskCommand::Test { words, port_base, concurrency, far, long } => {
            test::run(&Wanted::of(&words)?, port_base, Setting { concurrency, far, long })
        }
        XtaskCommand::SamLocal { stay: true, port_base } => {
            sam_local::stay(port_base.unwrap_or(StackOptions::PORT_BASE))
        }
        XtaskCommand::SamLocal { stay: false, port_base } => {
            test::run(&Wanted::all_of(Suite::SamLocal), port_base.unwrap_or(test::PORT_BASE), Setting::default())
        }
        XtaskCommand::Bench { quick, largest, parts, port_base } => bench::run(quick, largest, &parts, port_base),
        XtaskCommand::Lighthouse { name } => lighthouse::run(name.as_deref()),
        XtaskCommand::Screenshots { port_base } => screenshots::run(port_base),
        XtaskCommand::Sync { mode } => drive::sync(mode),
        XtaskCommand::Status => drive::status(),
        XtaskCommand::SignIn(options) => sign_in::run(&options),
        XtaskCommand::Webhook { order_id } => drive::webhook(&order_id),
        XtaskCommand::Migrate(options) => migrate::run(&options),
        XtaskCommand::Migration(task) => migration::run(&task),
        XtaskCommand::Configure(options) => configure::run(&options),
        XtaskCommand::Package(options) => package::run(&options),
        XtaskCommand::Deploy(options) => deploy::run(&options),
        XtaskCommand::Check(options) => check::run(&options),
        XtaskCommand::Redrive(options) => redrive::run(&options),
        XtaskCommand::Forget(options) => forget::run(&options),
        XtaskCommand::Setup => {
            let place = Place::local()?;
            setup::for_stack(&place)?;
            setup::for_sam(&place)?;
            setup::for_lighthouse(&place)?;
            setup::for_checkov(&place)?;
            Ok(ExitCode::SUCCESS)
        }
    }
}

#[cfg(test)]
mod tests;

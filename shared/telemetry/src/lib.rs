//! Structured logs, and metrics in CloudWatch's embedded format.
//!
//! | module | what it is for |
//! |---|---|
//! | `line` | one JSON object per log line, with the fields of its spans at its top level |
//! | `invocation` | [`invocation`]: the span with the request's id, and the metrics printed at its end |
//! | [`metrics`] | what is counted, by name; a table of all metrics |
//! | [`events`] | what happens to orders, runs and dashboards, in the original app's words; a table of all such lines |
//! | `emf` | what was counted as documents of the embedded metric format |
#![cfg_attr(test, allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing, clippy::panic))]

mod emf;
pub mod events;
mod invocation;
mod line;
pub mod metrics;

use std::{error::Error, process::ExitCode};

use tracing_subscriber::filter::{LevelFilter, Targets};
use tracing_subscriber::fmt::format::JsonFields;
use tracing_subscriber::layer::{Layer as _, SubscriberExt as _};
use tracing_subscriber::util::SubscriberInitExt as _;

pub use invocation::invocation;

/// Libraries that log every request below `warn`, some with headers. `lambda_runtime` would log failed invocations once
/// more, without the request's id, and a panic with its message, which may quote anything.
const QUIET: &str = "aws_config=warn,aws_runtime=warn,aws_sdk=warn,aws_smithy=warn,hyper=warn,reqwest=warn,\
                     lambda_http=warn,lambda_runtime=warn,lambda_runtime::layers::panic=off";

/// Starts logging at the level `LOG_LEVEL`: `error`, `warn`, `info`, `debug`, `trace`, or directives such as
/// `info,ghl=debug`. Absent, empty or malformed means `info`: a typo must neither silence nor stop a function.
fn init() {
    let level = std::env::var("LOG_LEVEL").unwrap_or_default();
    let lines = tracing_subscriber::fmt::layer().fmt_fields(JsonFields::new()).event_format(line::Line);
    let lines = lines.with_writer(std::io::stdout).with_filter(filter(&level));
    let _already_started = tracing_subscriber::registry().with(lines).try_init();
}

/// Runs a function's main: starts logging, and reports in one log line and on stderr why the function stopped, such as
/// which variable is missing. For `#[tokio::main] async fn main() -> ExitCode`.
pub async fn run<E: Into<Box<dyn Error + Send + Sync>>>(main: impl Future<Output = Result<(), E>>) -> ExitCode {
    init();
    // The usual hook prints the panic's message, and that may quote what was being read: a buyer's name, for one.
    std::panic::set_hook(Box::new(|panic| {
        let location = panic.location().map(ToString::to_string);
        tracing::error!(location, "The code panicked: this is a bug");
    }));
    match main.await {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            let error = chain(error.into().as_ref());
            tracing::error!(error, "The function stopped with an error");
            eprintln!("error: {error}");
            ExitCode::FAILURE
        }
    }
}

/// An error and its causes in one line, outermost first, for a log.
pub fn chain(error: &(dyn Error + 'static)) -> String {
    std::iter::successors(Some(error), |error| (*error).source())
        .map(ToString::to_string)
        .collect::<Vec<_>>()
        .join(": ")
}

/// By target only: a filter that also knows spans and their fields (`EnvFilter`) would bring the regular expressions along.
fn filter(level: &str) -> Targets {
    let level = level.trim();
    // A lone unknown word would be read as the name of a module, and everything else would fall silent.
    let usable = level.contains('=') || (!level.is_empty() && level.parse::<LevelFilter>().is_ok());
    let directives = if usable { level } else { "info" };
    let all = format!("{QUIET},{directives}").parse().or_else(|_| format!("{QUIET},info").parse());
    all.unwrap_or_else(|_| Targets::new().with_default(LevelFilter::INFO))
}

#[cfg(test)]
mod tests {
    use tracing::Level;

    use super::*;

    #[test]
    fn causes_stand_in_one_line() {
        let inner = "x".parse::<u8>().unwrap_err();
        let text = chain(&std::io::Error::other(inner));
        assert_eq!(text, "invalid digit found in string");
    }

    #[test]
    fn a_bad_level_means_info() {
        for level in ["", " ", "inf", "info", "INFO", "ghl=loud"] {
            let filter = filter(level);
            assert!(
                filter.would_enable("runs", &Level::INFO) && !filter.would_enable("runs", &Level::DEBUG),
                "{level:?}"
            );
        }
        assert!(filter("debug").would_enable("runs", &Level::DEBUG));
        assert!(!filter("error").would_enable("runs", &Level::WARN));
    }

    #[test]
    fn libraries_are_quiet_unless_they_are_named() {
        for level in ["info", "debug", "error"] {
            let filter = filter(level);
            for library in ["aws_sdk_sqs::operation", "hyper::client", "reqwest::connect"] {
                assert!(filter.would_enable(library, &Level::WARN) && !filter.would_enable(library, &Level::INFO));
            }
            assert!(!filter.would_enable("lambda_runtime::layers::panic", &Level::ERROR), "{level}");
        }
        let named = filter("info,ghl=trace,hyper=debug");
        assert!(named.would_enable("ghl::orders", &Level::TRACE) && named.would_enable("hyper::client", &Level::DEBUG));
        assert!(!named.would_enable("runs", &Level::DEBUG));
    }
}

//! Structured logs.
//!
//! One JSON object per line on stdout, with the event's fields at its top level, so that CloudWatch Logs Insights finds
//! them by name. Times are RFC 3339 in UTC.
#![cfg_attr(test, allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing))]

use std::{error::Error, process::ExitCode};

use tracing_subscriber::{EnvFilter, filter::LevelFilter};

/// Libraries that tell of every request below `warn`, some with headers.
const QUIET: &str = "aws_config=warn,aws_runtime=warn,aws_sdk=warn,aws_smithy=warn,hyper=warn,reqwest=warn,\
                     lambda_http=warn,lambda_runtime=warn";

/// Starts logging at the level `LOG_LEVEL`: `error`, `warn`, `info`, `debug`, `trace`, or directives such as
/// `info,ghl=debug`. Absent, empty or malformed means `info`: a typo there must neither silence nor stop a function.
///
/// Calling it again changes nothing, so tests may call it too.
pub fn init() {
    let level = std::env::var("LOG_LEVEL").unwrap_or_default();
    let _already_started = tracing_subscriber::fmt()
        .json()
        .flatten_event(true)
        .with_current_span(true)
        .with_span_list(false)
        .with_ansi(false)
        .with_env_filter(filter(&level))
        .with_writer(std::io::stdout)
        .try_init();
}

/// Runs a function's main: starts logging, and says in one log line and on stderr why the function stopped, such as by
/// the name of a missing variable. For `#[tokio::main] async fn main() -> ExitCode`.
pub async fn run<E: Into<Box<dyn Error + Send + Sync>>>(main: impl Future<Output = Result<(), E>>) -> ExitCode {
    init();
    match main.await {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            let error = chain(error.into().as_ref());
            tracing::error!(error, "The function stops.");
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

fn filter(level: &str) -> EnvFilter {
    let level = level.trim();
    // A lone unknown word would be read as the name of a module, and everything else would fall silent.
    let usable = level.contains('=') || (!level.is_empty() && level.parse::<LevelFilter>().is_ok());
    let directives = if usable { level } else { "info" };
    EnvFilter::try_new(format!("{QUIET},{directives}")).unwrap_or_else(|_| EnvFilter::new(format!("{QUIET},info")))
}

#[cfg(test)]
mod tests {
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
            assert_eq!(filter(level).max_level_hint(), Some(LevelFilter::INFO), "{level:?}");
        }
        assert_eq!(filter("debug").max_level_hint(), Some(LevelFilter::DEBUG));
        assert_eq!(filter("error").max_level_hint(), Some(LevelFilter::WARN), "libraries still warn");
        assert_eq!(filter("info,ghl=trace").max_level_hint(), Some(LevelFilter::TRACE));
    }
}

//! One invocation of a function: what every line and metric of it has in common.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{SystemTime, UNIX_EPOCH};

use tracing::{Instrument, error_span, field::Empty};

use crate::emf;
use crate::metrics::Collector;

/// Whether this process has served no invocation yet.
static FIRST: AtomicBool = AtomicBool::new(true);

/// Runs the work of an invocation in a span, and prints at its end what it counted (see [`crate::metrics`]), also if it
/// panics. Every line logged meanwhile has a `request_id`: the gateway's id of the request, which users see in error
/// bodies, and beside it Lambda's as `lambda_request_id`; Lambda's alone where there is no gateway. It also has `cold_start`: whether
/// the process was started for this invocation. Work that is about one order records the span's `order_id`.
pub async fn invocation<F: Future>(lambda_id: &str, gateway_id: Option<&str>, work: F) -> F::Output {
    in_process(&FIRST, lambda_id, gateway_id, work).await
}

async fn in_process<F: Future>(first: &AtomicBool, lambda_id: &str, gateway_id: Option<&str>, work: F) -> F::Output {
    let cold_start = first.swap(false, Ordering::Relaxed);
    let gateway_id = gateway_id.filter(|id| !id.is_empty());
    let request_id = gateway_id.unwrap_or(lambda_id);
    // An error's span is there at every LOG_LEVEL.
    let lambda_request_id = gateway_id.map(|_| lambda_id);
    let span = error_span!("invocation", request_id, lambda_request_id, cold_start, order_id = Empty);
    let collector = Collector::default();
    let _printed_at_end = PrintedAtEnd { collector: collector.clone(), request_id };
    collector.scope(work).instrument(span).await
}

struct PrintedAtEnd<'a> {
    collector: Collector,
    request_id: &'a str,
}

impl Drop for PrintedAtEnd<'_> {
    fn drop(&mut self) {
        let location_id = std::env::var("GHL_LOCATION_ID").unwrap_or_default();
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        let now_ms = u64::try_from(now.as_millis()).unwrap_or(u64::MAX);
        for document in emf::documents(&self.collector.take(), now_ms, &location_id, self.request_id) {
            println!("{document}");
        }
    }
}

#[cfg(test)]
mod tests {
    use futures::executor::block_on;

    use super::*;
    use crate::line::tests::logged;

    #[test]
    fn the_first_invocation_of_a_process_is_a_cold_start_and_no_other() {
        let first = AtomicBool::new(true);
        let lines = logged(|| {
            for (lambda_id, gateway_id) in [("l-1", Some("g-1")), ("l-2", None), ("l-3", Some(""))] {
                block_on(in_process(&first, lambda_id, gateway_id, async { tracing::info!("Done") }));
            }
        });
        let told =
            |line: &serde_json::Value| ["request_id", "lambda_request_id", "cold_start"].map(|f| line[f].clone());
        let expected = serde_json::json!([["g-1", "l-1", true], ["l-2", null, false], ["l-3", null, false]]);
        assert_eq!(serde_json::json!(lines.iter().map(told).collect::<Vec<_>>()), expected);
    }
}

//! The line in the log of a failure that was recorded.

use database::Failure;
use domain::RunId;
use telemetry::events::{self, OrderFailed};

/// Logs an order that has failed for good, as it was recorded. `error`: what went wrong with its causes, where the reason doesn't say
/// all of it.
pub fn tell_failure(failure: &Failure, error: Option<&str>) {
    let Failure { order_id, run_id, cause, class, code, reason, attempts } = failure;
    events::order_failed(OrderFailed {
        order_id: order_id.as_str(),
        run_id: run_id.as_ref().map(RunId::as_str),
        cause: cause.as_str(),
        class: class.as_str(),
        code,
        attempts: *attempts,
        reason,
        error,
    });
}

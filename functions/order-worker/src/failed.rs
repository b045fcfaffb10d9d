//! What happens to an order that couldn't be read or stored: tried again later, recorded, or the end of its run.

use std::sync::Arc;
use std::time::Duration;

use database::{Database, Failure};
use domain::failure::Pace;
use domain::{Cause, FailureClass, RunId, failure};
use orders::FetchError;
use queues::{OrderMessage, Queue};
use runs::Publisher;
use telemetry::metrics::{self, Metric};

use crate::batch::Task;

/// Why an order isn't stored.
pub(crate) enum NotRead {
    /// There was no slot in time.
    NotStarted(Duration),
    /// The fetch failed.
    Failed(FetchError),
    /// The product list, which tells valid orders, couldn't be read.
    Products(Arc<FetchError>),
    /// The database refuses this order's data.
    Refused(String),
}

/// What is done about it.
#[derive(Debug, PartialEq)]
pub(crate) enum Remedy {
    /// A new message after a wait.
    Again { wait: Duration, attempt: u32 },
    /// Recorded.
    GiveUp { class: FailureClass, code: &'static str, reason: String, stops_run: bool },
}

/// Decides; `jitter` in `0.0..=1.0`.
pub(crate) fn remedy(not_read: &NotRead, cause: Cause, attempt: u32, jitter: f64, pace: Pace) -> Remedy {
    let error = match not_read {
        NotRead::NotStarted(wait) => return Remedy::Again { wait: *wait, attempt },
        NotRead::Refused(reason) => {
            return Remedy::GiveUp {
                class: FailureClass::Permanent,
                code: "data_refused",
                reason: reason.clone(),
                stops_run: false,
            };
        }
        NotRead::Failed(error) => error,
        NotRead::Products(error) => error,
    };
    let not_found = matches!(error, FetchError::Ghl(error) if error.is_not_found());
    let wait = match error.class() {
        _ if error.stops_run() => None,
        FailureClass::Transient => failure::retry_after(attempt, jitter),
        FailureClass::Permanent if not_found && cause == Cause::Webhook => failure::retry_not_found(attempt),
        FailureClass::Permanent | FailureClass::Auth => None,
    };
    match wait {
        Some(wait) => Remedy::Again { wait: pace.of(wait), attempt: attempt.saturating_add(1) },
        None => Remedy::GiveUp {
            class: error.class(),
            code: error.code(),
            reason: reason(error),
            stops_run: error.stops_run(),
        },
    }
}

fn reason(error: &FetchError) -> String {
    match error.class() {
        FailureClass::Auth => {
            "Failed to fetch order details: GoHighLevel refuses the access token, please check it".to_owned()
        }
        _ => format!("Failed to fetch order details: {error}"),
    }
}

/// Where orders go that have to wait.
pub(crate) struct Retries {
    pub(crate) orders: Queue<OrderMessage>,
    pub(crate) bulk: Queue<OrderMessage>,
    /// How fast they follow.
    pub(crate) pace: Pace,
}

impl Retries {
    /// Sends a task's message anew, to be handled after `wait`; gives the messages to hand back where that failed.
    pub(crate) async fn later(&self, task: &Task, attempt: u32, wait: Duration) -> Vec<String> {
        let queue = if task.is_bulk() { &self.bulk } else { &self.orders };
        let Err(error) = queue.send(&task.again(attempt), wait).await else { return Vec::new() };
        tracing::error!(order_id = %task.message.order_id, error = telemetry::chain(&error), "A message could not be sent anew");
        task.message_ids.clone()
    }

    /// Applies the remedies; gives the messages to hand back because neither a new message nor a record could be made.
    pub(crate) async fn remedy(
        &self,
        database: &Database,
        publisher: &Publisher,
        not_read: Vec<(Task, NotRead)>,
    ) -> Vec<String> {
        let (mut back, mut given_up, mut stopping) = (Vec::new(), Vec::new(), None);
        for (task, problem) in not_read {
            match remedy(&problem, task.message.cause, task.message.attempt, fastrand::f64(), self.pace) {
                Remedy::Again { wait, attempt } => {
                    back.extend(self.later(&task, attempt, wait).await);
                }
                Remedy::GiveUp { class, code, reason, stops_run } => {
                    let OrderMessage { order_id, run_id, attempt, .. } = &task.message;
                    let of_run = run_id.as_ref().map(RunId::as_str);
                    tracing::warn!(order_id = %order_id, run_id = of_run, class = class.as_str(), code, attempts = attempt, reason, "An order could not be synced");
                    if let (true, Some(run_id)) = (stops_run, run_id) {
                        stopping.get_or_insert_with(|| (run_id.clone(), code, reason.clone()));
                    }
                    given_up.push((task, class, code, reason));
                }
            }
        }
        if let Some((run_id, code, reason)) = &stopping {
            match database.end_run(run_id, code, reason).await {
                Ok(ended) => {
                    if ended.cancelled {
                        tracing::error!(run_id = %run_id, code, reason, "A run ends with an error");
                    }
                    publisher.publish_granted(database, ended.publication.as_ref()).await;
                }
                Err(error) => {
                    tracing::error!(run_id = %run_id, error = telemetry::chain(&error), "A run could not be stopped")
                }
            }
        }
        let failures: Vec<_> = given_up
            .iter()
            .map(|(task, class, code, reason)| Failure {
                order_id: task.message.order_id.clone(),
                run_id: task.message.run_id.clone(),
                cause: task.message.cause,
                class: *class,
                code,
                reason: reason.clone(),
                attempts: task.message.attempt,
            })
            .collect();
        if failures.is_empty() {
            return back;
        }
        match database.record_failures(&failures).await {
            Ok(recorded) => {
                metrics::count(Metric::OrdersFailed, failures.len());
                metrics::count(Metric::FailuresRecorded, failures.len());
                publisher.publish_granted(database, recorded.publication.as_ref()).await;
            }
            Err(error) => {
                tracing::error!(error = telemetry::chain(&error), "Failures could not be recorded");
                back.extend(given_up.into_iter().flat_map(|(task, ..)| task.message_ids));
            }
        }
        back
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn answered(status: u16) -> NotRead {
        let error = ghl_error(status, status == 404);
        NotRead::Failed(FetchError::Ghl(error))
    }

    fn ghl_error(status: u16, not_found: bool) -> ghl_client::Error {
        ghl_client::Error::Status { call: "get order", status, not_found, timed_out: false, trace_id: None }
    }

    fn waits(not_read: &NotRead, cause: Cause) -> Vec<Option<u64>> {
        (1..=5)
            .map(|attempt| match remedy(not_read, cause, attempt, 1.0, Pace::default()) {
                Remedy::Again { wait, attempt: next } => {
                    assert_eq!(next, attempt + 1);
                    Some(wait.as_secs())
                }
                Remedy::GiveUp { .. } => None,
            })
            .collect()
    }

    #[test]
    fn each_class_has_its_waits() {
        assert_eq!(waits(&answered(500), Cause::Run), [Some(2), Some(4), Some(8), Some(16), None]);
        assert_eq!(waits(&answered(404), Cause::Run), [None; 5]);
        assert_eq!(waits(&answered(404), Cause::Webhook), [Some(5), Some(30), Some(120), Some(600), None]);
        assert_eq!(waits(&answered(401), Cause::Webhook), [None; 5]);
        assert_eq!(waits(&answered(422), Cause::Webhook), [None; 5]);
    }

    #[test]
    fn what_befalls_every_order_stops_the_run() {
        let stops = |not_read| match remedy(&not_read, Cause::Run, 1, 0.0, Pace::default()) {
            Remedy::GiveUp { stops_run, reason, .. } => (stops_run, reason),
            Remedy::Again { .. } => panic!("given up at once"),
        };
        assert!(stops(answered(401)).0 && stops(answered(403)).0);
        assert!(!stops(answered(404)).0);
        let (stopped, reason) = stops(NotRead::Failed(FetchError::DailyBudget));
        assert!(stopped && reason.contains("budget") && !reason.contains("token"), "{reason}");
    }

    #[test]
    fn waiting_for_a_slot_is_no_failure() {
        let wait = Duration::from_secs(3);
        assert_eq!(
            remedy(&NotRead::NotStarted(wait), Cause::Run, 2, 0.0, Pace::default()),
            Remedy::Again { wait, attempt: 2 }
        );
    }
}

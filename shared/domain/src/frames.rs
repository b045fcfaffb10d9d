//! The frames for dashboards and the status document. Everything here is computed from the run row, so that frames, status JSON and database can't disagree.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use crate::ids::{LocationId, RunId};
use crate::problem::Problem;
use crate::run::{Run, RunState};

/// What a frame is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Event {
    /// The state of the run: the status document's data.
    SyncStatus,
    /// The progress of orders.
    SyncProgress,
    /// The progress of tickets.
    SyncTicketProgress,
    /// The run has completed.
    SyncComplete,
}

/// How many sequence numbers the database reserves for one publication, which has no more frames. `publications.sql` has the same number.
pub const FRAMES_PER_PUBLICATION: u64 = 4;

/// The database's permission to publish: numbers no other publication has, and the run as it stood then.
#[derive(Debug, Clone, PartialEq, Deserialize)]
pub struct Publication {
    /// Whose dashboards.
    pub location_id: LocationId,
    /// The first of [`FRAMES_PER_PUBLICATION`] sequence numbers.
    pub seq_first: u64,
    /// The run that is published.
    pub run: Run,
}

/// One message to a dashboard.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Frame {
    /// What it is about.
    pub event: Event,
    /// The run that it is about; `None` before the first.
    #[serde(rename = "runId")]
    pub run_id: Option<RunId>,
    /// Its number in the location's sequence: a client drops frames that aren't newer than its last one.
    pub seq: u64,
    /// The event's data.
    pub data: Value,
}

/// What to publish now.
#[derive(Debug, Clone, PartialEq)]
pub struct Announcement {
    /// Frames in order.
    pub frames: Vec<Frame>,
    /// The new `sync_status.json`.
    pub status: Value,
    /// The last sequence number used.
    pub seq: u64,
}

impl Publication {
    /// The frames and the status document of this publication.
    #[must_use]
    pub fn announce(&self) -> Announcement {
        let run = &self.run;
        // A cool-down that was over before anybody was told of it is told with the end.
        let untold = Run { state: RunState::Delay, ..run.clone() };
        let frames: Vec<Frame> = (self.seq_first..)
            .zip(events(run))
            .map(|(seq, (state, event))| {
                let run = if state == RunState::Delay { &untold } else { run };
                Frame { event, run_id: Some(run.run_id.clone()), seq, data: event.data(run, seq) }
            })
            .collect();
        let status_seq = frames.iter().rfind(|frame| frame.event == Event::SyncStatus).map(|frame| frame.seq);
        let seq = frames.last().map_or(self.seq_first, |frame| frame.seq);
        // While syncing, every publication replaces the document. At a change of state the document equals the data of the
        // sync_status frame, so it has that frame's number.
        let status_seq = if run.state == RunState::Syncing { seq } else { status_seq.unwrap_or(self.seq_first) };
        Announcement { frames, status: status(Some(run), status_seq), seq }
    }
}

impl Event {
    fn data(self, run: &Run, seq: u64) -> Value {
        match self {
            Self::SyncStatus => status(Some(run), seq),
            Self::SyncProgress => progress(run),
            Self::SyncTicketProgress => ticket_progress(run),
            Self::SyncComplete => complete(run),
        }
    }
}

/// The frames of a publication, by the run's state and the state that was published before (`announced_state`):
///
/// | state now | first publication | after `Syncing` | after `Delay` or an end |
/// |---|---|---|---|
/// | `Syncing` | status, progress | progress | nothing |
/// | `Delay` | progress, status, complete | the same | status, complete |
/// | `Completed` | progress of tickets, status of `Delay`, complete, status | the same | status |
/// | `Error`, `Cancelled` | progress, status | the same | status |
///
/// *Progress* is that of orders and of tickets. It is published with the end once more, so that the last counts are shown. The
/// last frame of a run is always a status.
fn events(run: &Run) -> Vec<(RunState, Event)> {
    let is_first = run.announced_state.is_none();
    let end_was_announced = run.announced_state.is_some_and(|announced| announced != RunState::Syncing);
    if run.state == RunState::Completed && !end_was_announced {
        let untold = [Event::SyncTicketProgress, Event::SyncStatus, Event::SyncComplete];
        let untold = untold.into_iter().map(|event| (RunState::Delay, event));
        return untold.chain([(RunState::Completed, Event::SyncStatus)]).collect();
    }
    let mut events = Vec::new();
    if is_first && run.state == RunState::Syncing {
        events.push(Event::SyncStatus);
    }
    if !end_was_announced && run.state != RunState::Skipped {
        events.extend([Event::SyncProgress, Event::SyncTicketProgress]);
    }
    match run.state {
        RunState::Syncing => {}
        RunState::Delay => events.extend([Event::SyncStatus, Event::SyncComplete]),
        RunState::Completed | RunState::Error | RunState::Cancelled | RunState::Skipped => {
            events.push(Event::SyncStatus);
        }
    }
    events.into_iter().map(|event| (run.state, event)).collect()
}

/// The frame that answers a client's `{"action": "status"}`.
#[must_use]
pub fn snapshot(run: Option<&Run>, seq: u64, problems: &[Problem]) -> Frame {
    Frame { event: Event::SyncStatus, run_id: run.map(|run| run.run_id.clone()), seq, data: answer(run, seq, problems) }
}

/// The answer to a request for the status: the document's data, and `problems` if there are any.
#[must_use]
pub fn answer(run: Option<&Run>, seq: u64, problems: &[Problem]) -> Value {
    let mut data = status(run, seq);
    if let (Some(object), false) = (data.as_object_mut(), problems.is_empty()) {
        object.insert("problems".to_owned(), json!(problems));
    }
    data
}

/// The `sync_status` data, which is also `sync_status.json`. No run yet: the idle status.
#[must_use]
pub fn status(run: Option<&Run>, seq: u64) -> Value {
    let Some(run) = run else {
        return json!({
            "syncInProgress": false, "startTime": null, "endTime": null, "totalOrders": 0, "syncedOrders": 0, "status": "Idle",
            "delay_in_sec": 0, "runId": null, "kind": null, "listedOrders": 0, "failedOrders": 0, "notAttemptedOrders": 0,
            "skippedOrders": 0, "unchangedOrders": 0, "totalTickets": 0, "seq": seq,
        });
    };
    let mut data = json!({
        "syncInProgress": run.state == RunState::Syncing,
        "startTime": utc_ms(run.started_at),
        "endTime": run.ended_at.map(utc_ms),
        "totalOrders": run.total_orders(),
        "syncedOrders": run.synced,
        "status": run.state.as_str(),
        "delay_in_sec": run.delay_seconds(),
        "runId": run.run_id,
        "kind": run.kind,
        "listedOrders": run.listed,
        "failedOrders": run.failed,
        "notAttemptedOrders": run.not_attempted,
        "skippedOrders": run.skipped,
        "unchangedOrders": run.unchanged,
        "totalTickets": run.tickets_total,
        "seq": seq,
    });
    if let (Some(object), Some(message)) = (data.as_object_mut(), &run.error_message) {
        object.insert("error".to_owned(), json!(message));
        object.insert("errorCode".to_owned(), json!(run.error_code));
    }
    data
}

fn progress(run: &Run) -> Value {
    json!({
        "syncInProgress": run.state == RunState::Syncing,
        "totalOrders": run.total_orders(),
        "syncedOrders": run.synced,
        "totalTickets": run.tickets_total,
        "status": run.state.as_str(),
        "listedOrders": run.listed,
        "failedOrders": run.failed,
        "notAttemptedOrders": run.not_attempted,
        "skippedOrders": run.skipped,
        "unchangedOrders": run.unchanged,
        "ordersPerSecond": run.orders_per_second(),
        "etaSeconds": run.eta_seconds(),
    })
}

fn ticket_progress(run: &Run) -> Value {
    json!({
        "totalTicketsChecked": run.tickets_checked,
        "totalTicketTypes": run.ticket_types,
        "status": run.state.as_str(),
        "ticketsAdded": run.tickets_added,
        "ticketsCancelled": run.tickets_cancelled,
    })
}

fn complete(run: &Run) -> Value {
    let message = if run.failed == 0 {
        format!("Sync completed: {} orders in step", run.synced)
    } else {
        format!("Sync completed: {} orders in step, {} failed", run.synced, run.failed)
    };
    json!({
        "message": message,
        "totalOrders": run.total_orders(),
        "syncedOrders": run.synced,
        "listedOrders": run.listed,
        "failedOrders": run.failed,
        "skippedOrders": run.skipped,
        "unchangedOrders": run.unchanged,
        "totalTickets": run.tickets_total,
        "ticketsAdded": run.tickets_added,
        "ticketsCancelled": run.tickets_cancelled,
    })
}

/// RFC 3339 in UTC with milliseconds, as JavaScript writes it.
#[must_use]
pub fn utc_ms(time: Timestamp) -> String {
    format!("{time:.3}")
}

#[cfg(test)]
mod tests;

//! What dashboards are told. Everything here is computed from the run row, so that frames, status JSON and database can't disagree.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use crate::ids::{LocationId, RunId};
use crate::problem::Problem;
use crate::run::{Run, RunState};

/// What a frame tells.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Event {
    /// How the run stands: the status document's data.
    SyncStatus,
    /// How far orders are.
    SyncProgress,
    /// How far tickets are.
    SyncTicketProgress,
    /// That the run has ended well.
    SyncComplete,
}

/// Sequence numbers the database sets aside for one publication: it tells each event once at most. Also stands in
/// `publications.sql`.
pub const FRAMES_PER_PUBLICATION: u64 = 4;

/// The database's permission to publish: numbers no other publication has, and the run as it stood then.
#[derive(Debug, Clone, PartialEq, Deserialize)]
pub struct Publication {
    /// Whose dashboards.
    pub location_id: LocationId,
    /// The first of [`FRAMES_PER_PUBLICATION`] sequence numbers.
    pub seq_first: u64,
    /// The run to tell about.
    pub run: Run,
}

/// One message to a dashboard.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Frame {
    /// What it tells.
    pub event: Event,
    /// The run it tells about; `None` before the first.
    #[serde(rename = "runId")]
    pub run_id: Option<RunId>,
    /// Its place in the location's one sequence: a client drops what isn't newer.
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
        let frames: Vec<Frame> = (self.seq_first..)
            .zip(events(run))
            .map(|(seq, event)| Frame { event, run_id: Some(run.run_id.clone()), seq, data: event.data(run, seq) })
            .collect();
        let status_seq = frames.iter().find(|frame| frame.event == Event::SyncStatus).map(|frame| frame.seq);
        let seq = frames.last().map_or(self.seq_first, |frame| frame.seq);
        // While syncing, the document moves on with every publication; at a change of state it is the sync_status frame's data.
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

/// What dashboards are to be told of a run, after what they were told last.
fn events(run: &Run) -> Vec<Event> {
    let mut events = Vec::new();
    let told = run.announced_state;
    if told.is_none() && run.state == RunState::Syncing {
        events.push(Event::SyncStatus);
    }
    if told.is_none_or(|told| told == RunState::Syncing) && run.state != RunState::Skipped {
        events.extend([Event::SyncProgress, Event::SyncTicketProgress]);
    }
    let told_the_end = told.is_some_and(|told| told != RunState::Syncing);
    match run.state {
        RunState::Syncing => {}
        RunState::Delay => events.extend([Event::SyncStatus, Event::SyncComplete]),
        RunState::Completed if !told_the_end => events.extend([Event::SyncComplete, Event::SyncStatus]),
        RunState::Completed | RunState::Error | RunState::Cancelled | RunState::Skipped => {
            events.push(Event::SyncStatus);
        }
    }
    events
}

/// The frame that answers a client that asks how things stand.
#[must_use]
pub fn snapshot(run: Option<&Run>, seq: u64, problems: &[Problem]) -> Frame {
    Frame { event: Event::SyncStatus, run_id: run.map(|run| run.run_id.clone()), seq, data: answer(run, seq, problems) }
}

/// The status for whoever asks: the document's data, and `problems` where there are any.
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
            "delay_in_sec": 0, "runId": null, "kind": null, "listedOrders": 0, "failedOrders": 0, "skippedOrders": 0,
            "unchangedOrders": 0, "totalTickets": 0, "seq": seq,
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

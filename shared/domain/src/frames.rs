//! The frames for dashboards and the status document. Everything here is computed from the run row, so that frames, status JSON and database can't disagree.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};

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
        // A beginning or a cool-down that was over before anybody was told of it is told with the end.
        let frames: Vec<Frame> = (self.seq_first..)
            .zip(events(run))
            .map(|(seq, (state, event))| {
                let data = match state {
                    RunState::Syncing if run.state != state => event.data(&at_its_beginning(run), seq),
                    // The first status of a run has all before it, as in the original app; the progress that follows at once has not.
                    RunState::Syncing if event == Event::SyncStatus && run.announced_state.is_none() => {
                        event.data(&with_nothing_done(run), seq)
                    }
                    RunState::Delay if run.state != state => event.data(&Run { state, ..run.clone() }, seq),
                    _ => event.data(run, seq),
                };
                Frame { event, run_id: Some(run.run_id.clone()), seq, data }
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

/// The run when it had all before it.
fn at_its_beginning(run: &Run) -> Run {
    Run {
        state: RunState::Syncing,
        now: run.started_at,
        ended_at: None,
        cooldown_until: None,
        listing: None,
        listing_complete: false,
        total_count: Some(run.listed.saturating_sub(run.skipped)),
        listed: 0,
        skipped: 0,
        error_code: None,
        error_message: None,
        ..with_nothing_done(run)
    }
}

/// The run as far as it is listed, with no order done.
fn with_nothing_done(run: &Run) -> Run {
    Run {
        synced: 0,
        failed: 0,
        not_attempted: 0,
        unchanged: 0,
        tickets_total: 0,
        tickets_checked: 0,
        ticket_types: 0,
        tickets_added: 0,
        tickets_reinstated: 0,
        tickets_cancelled: 0,
        ..run.clone()
    }
}

/// The frames of a publication, each with the state of which it tells, by the run's state and the state that was published before
/// (`announced_state`):
///
/// | state now | first publication | after `Syncing` | after `Delay` or an end |
/// |---|---|---|---|
/// | `Syncing` | status, progress, tickets | progress, tickets | nothing |
/// | `Syncing`, GHL's count known since | | status, progress, tickets | |
/// | `Delay` | status of `Syncing`, progress, status, complete | progress, tickets, status, complete | status, complete |
/// | `Completed` | status of `Syncing`, status of `Delay`, complete, status | tickets, status of `Delay`, complete, status | status |
/// | `Error`, `Cancelled` | status of `Syncing`, progress, tickets, status | progress, tickets, status | status |
///
/// *Progress* (of orders) and *tickets* are published with the end once more, so that the last counts are shown. The first frame of a
/// run is always a status of `Syncing`, the last one a status.
fn events(run: &Run) -> Vec<(RunState, Event)> {
    use Event::{SyncComplete, SyncProgress, SyncStatus, SyncTicketProgress};
    let now = run.state;
    let beginning = (RunState::Syncing, SyncStatus);
    let is_first = run.announced_state.is_none();
    let end_was_announced = run.end_was_announced();
    match now {
        RunState::Syncing if end_was_announced => Vec::new(),
        // Who looks at nothing but the status would keep a total that was a guess.
        RunState::Syncing if is_first || (run.is_counted() && !run.announced_count) => {
            vec![(now, SyncStatus), (now, SyncProgress), (now, SyncTicketProgress)]
        }
        RunState::Syncing => vec![(now, SyncProgress), (now, SyncTicketProgress)],
        RunState::Delay if end_was_announced => vec![(now, SyncStatus), (now, SyncComplete)],
        RunState::Delay if is_first => vec![beginning, (now, SyncProgress), (now, SyncStatus), (now, SyncComplete)],
        RunState::Delay => {
            vec![(now, SyncProgress), (now, SyncTicketProgress), (now, SyncStatus), (now, SyncComplete)]
        }
        RunState::Completed if !end_was_announced => {
            let before = if is_first { beginning } else { (RunState::Delay, SyncTicketProgress) };
            vec![before, (RunState::Delay, SyncStatus), (RunState::Delay, SyncComplete), (now, SyncStatus)]
        }
        RunState::Error | RunState::Cancelled if is_first => {
            vec![beginning, (now, SyncProgress), (now, SyncTicketProgress), (now, SyncStatus)]
        }
        RunState::Error | RunState::Cancelled if !end_was_announced => {
            vec![(now, SyncProgress), (now, SyncTicketProgress), (now, SyncStatus)]
        }
        RunState::Completed | RunState::Error | RunState::Cancelled | RunState::Skipped => vec![(now, SyncStatus)],
    }
}

/// The frame that answers a client's `{"action": "status"}`.
#[must_use]
pub fn snapshot(run: Option<&Run>, seq: u64, problems: &[Problem]) -> Frame {
    Frame { event: Event::SyncStatus, run_id: run.map(|run| run.run_id.clone()), seq, data: answer(run, seq, problems) }
}

/// The answer to a request for the status: the document's data, and always `problems`, so that none can be told from not said.
#[must_use]
pub fn answer(run: Option<&Run>, seq: u64, problems: &[Problem]) -> Value {
    let mut data = status(run, seq);
    if let Some(object) = data.as_object_mut() {
        object.insert("problems".to_owned(), json!(problems));
    }
    data
}

/// The `sync_status` data, which is also `sync_status.json`. It holds all that frames of progress tell, for who joins in the middle of a
/// run. No run yet: the idle status.
#[must_use]
pub fn status(run: Option<&Run>, seq: u64) -> Value {
    let Some(run) = run else {
        return json!({
            "syncInProgress": false, "startTime": null, "endTime": null, "totalOrders": 0, "syncedOrders": 0, "status": "Idle",
            "delay_in_sec": 0, "runId": null, "kind": null, "listedOrders": 0, "failedOrders": 0, "notAttemptedOrders": 0,
            "skippedOrders": 0, "unchangedOrders": 0, "totalTickets": 0, "ordersPerSecond": 0.0, "etaSeconds": null,
            "waitSeconds": null, "elapsedSeconds": null, "totalTicketsChecked": 0, "totalTicketTypes": 0, "ticketsAdded": 0,
            "ticketsCancelled": 0, "seq": seq,
        });
    };
    let own = json!({
        "syncInProgress": run.state == RunState::Syncing,
        "startTime": utc_ms(run.started_at),
        "endTime": run.ended_at.map(utc_ms),
        "status": run.state.as_str(),
        "delay_in_sec": run.delay_seconds(),
        "runId": run.run_id,
        "kind": run.kind,
        "notAttemptedOrders": run.not_attempted,
        "seq": seq,
    });
    let mut data = together([own, orders(run), pace(run), tickets(run)]);
    if let (Some(object), Some(message)) = (data.as_object_mut(), &run.error_message) {
        object.insert("error".to_owned(), json!(message));
        object.insert("errorCode".to_owned(), json!(run.error_code));
    }
    data
}

fn progress(run: &Run) -> Value {
    let status = if run.state == RunState::Syncing { "Syncing Orders" } else { run.state.as_str() };
    let own = json!({
        "syncInProgress": run.state == RunState::Syncing, "status": status, "notAttemptedOrders": run.not_attempted,
    });
    together([own, orders(run), pace(run)])
}

fn ticket_progress(run: &Run) -> Value {
    together([json!({ "status": run.state.as_str() }), tickets(run)])
}

fn complete(run: &Run) -> Value {
    let own = json!({
        "message": "Sync Process Complete!", "ticketsAdded": run.tickets_added, "ticketsCancelled": run.tickets_cancelled,
    });
    together([own, orders(run)])
}

/// What each frame of a run counts: its orders, and the tickets of those synced so far.
fn orders(run: &Run) -> Value {
    json!({
        "totalOrders": run.total_orders(),
        "syncedOrders": run.synced,
        "listedOrders": run.listed,
        "failedOrders": run.failed,
        "skippedOrders": run.skipped,
        "unchangedOrders": run.unchanged,
        "totalTickets": run.tickets_total,
    })
}

fn pace(run: &Run) -> Value {
    json!({
        "ordersPerSecond": run.orders_per_second(),
        "etaSeconds": run.eta_seconds(),
        "waitSeconds": run.wait_seconds(),
        "elapsedSeconds": run.elapsed_seconds(),
    })
}

fn tickets(run: &Run) -> Value {
    json!({
        "totalTicketsChecked": run.tickets_checked,
        "totalTicketTypes": run.ticket_types,
        "ticketsAdded": run.tickets_added,
        "ticketsCancelled": run.tickets_cancelled,
    })
}

/// One object with the fields of all.
fn together<const N: usize>(parts: [Value; N]) -> Value {
    let objects =
        parts.into_iter().filter_map(|part| if let Value::Object(fields) = part { Some(fields) } else { None });
    objects.flatten().collect::<Map<_, _>>().into()
}

/// RFC 3339 in UTC with milliseconds, as JavaScript writes it.
#[must_use]
pub fn utc_ms(time: Timestamp) -> String {
    format!("{time:.3}")
}

#[cfg(test)]
mod properties;
#[cfg(test)]
mod tests;

use std::fmt;

use serde::{Deserialize, Serialize};

/// In `orders` and `orders-bulk`: fetch this order from GHL and bring its row into step.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct OrderMessage {
    /// Whose order it is.
    pub location_id: String,
    /// The order.
    pub order_id: String,
    /// Why it is looked at.
    pub cause: Cause,
    /// The run that asked for it and counts its outcome.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub run_id: Option<String>,
    /// Which try this is, from 1; each wait after a failure adds one.
    #[serde(default = "first_attempt")]
    pub attempt: u32,
    /// When the first message about it was sent, in ms since the Unix epoch, where this one follows another: a fetch
    /// granted after that serves this one too.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub noticed_at_ms: Option<i64>,
}

/// In `tickets`: bring this order's tickets into step with its row.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct TicketMessage {
    /// Whose order it is.
    pub location_id: String,
    /// The order.
    pub order_id: String,
    /// Why it is looked at.
    pub cause: Cause,
    /// The run that asked for it and counts its outcome.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub run_id: Option<String>,
    /// Which try of the order this is, from 1.
    #[serde(default = "first_attempt")]
    pub attempt: u32,
    /// What the upsert did to the row; for the counts only.
    pub change: Change,
}

/// In `runs`: one pulse of a run.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RunMessage {
    /// Whose run it is.
    pub location_id: String,
    /// The run.
    pub run_id: String,
    /// The pulse's number: a redelivered older pulse loses the compare-and-set on it and dies.
    pub pulse: i64,
}

/// Why an order is looked at.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Cause {
    /// A webhook named it.
    Webhook,
    /// A full or incremental run listed it.
    Run,
    /// A run that only writes the list of valid orders listed it.
    ValidList,
    /// An admin had it tried again.
    Retry,
    /// An admin asked for this one order.
    Single,
    /// The gate found it due when one of its tickets was scanned.
    Gate,
    /// Its tickets were found due for reconciling.
    Due,
}

/// What an upsert did to an order's row.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Change {
    /// The row was inserted or changed.
    Written,
    /// The row was already in step.
    Unchanged,
    /// What was read is older than the row.
    Stale,
}

impl Cause {
    /// The name it has in messages, rows and logs.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Webhook => "webhook",
            Self::Run => "run",
            Self::ValidList => "valid_list",
            Self::Retry => "retry",
            Self::Single => "single",
            Self::Gate => "gate",
            Self::Due => "due",
        }
    }
}

impl Change {
    /// The name it has in messages, rows and answers.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Written => "written",
            Self::Unchanged => "unchanged",
            Self::Stale => "stale",
        }
    }
}

impl fmt::Display for Cause {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl fmt::Display for Change {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl OrderMessage {
    /// The first try of an order.
    pub fn new(location_id: impl Into<String>, order_id: impl Into<String>, cause: Cause) -> Self {
        Self {
            location_id: location_id.into(),
            order_id: order_id.into(),
            cause,
            run_id: None,
            attempt: first_attempt(),
            noticed_at_ms: None,
        }
    }

    /// The same order, asked for by a run.
    #[must_use]
    pub fn for_run(mut self, run_id: impl Into<String>) -> Self {
        self.run_id = Some(run_id.into());
        self
    }

    /// The same order, one try later; to be sent with a delay.
    #[must_use]
    pub fn next_attempt(&self) -> Self {
        Self { attempt: self.attempt.saturating_add(1), ..self.clone() }
    }

    /// What to hand over to `tickets` once the row is in step.
    pub fn into_ticket_message(self, change: Change) -> TicketMessage {
        let Self { location_id, order_id, cause, run_id, attempt, noticed_at_ms: _ } = self;
        TicketMessage { location_id, order_id, cause, run_id, attempt, change }
    }
}

fn first_attempt() -> u32 {
    1
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn names_on_the_wire() {
        let message = OrderMessage::new("loc", "ord", Cause::ValidList).for_run("r1").next_attempt();
        let wire = serde_json::to_value(&message).unwrap();
        assert_eq!(
            wire,
            json!({"location_id": "loc", "order_id": "ord", "cause": "valid_list", "run_id": "r1", "attempt": 2})
        );
        let tickets = serde_json::to_value(message.into_ticket_message(Change::Stale)).unwrap();
        assert_eq!(tickets["change"], "stale");
        for cause in
            [Cause::Webhook, Cause::Run, Cause::ValidList, Cause::Retry, Cause::Single, Cause::Gate, Cause::Due]
        {
            assert_eq!(serde_json::to_value(cause).unwrap(), cause.as_str());
        }
        for change in [Change::Written, Change::Unchanged, Change::Stale] {
            assert_eq!(serde_json::to_value(change).unwrap(), change.as_str());
        }
    }

    #[test]
    fn absent_and_unknown_fields_are_fine() {
        let wire = json!({"location_id": "loc", "order_id": "ord", "cause": "webhook", "later": true});
        let message: OrderMessage = serde_json::from_value(wire).unwrap();
        assert_eq!(message, OrderMessage::new("loc", "ord", Cause::Webhook));
    }
}

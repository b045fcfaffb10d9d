use domain::{Cause, Change, Force, LocationId, OrderId, RunId};
use jiff::Timestamp;
use jiff::fmt::serde::timestamp::millisecond;
use serde::{Deserialize, Deserializer, Serialize};

/// In `orders` and `orders-bulk`: fetch this order from GHL and bring its row into step.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct OrderMessage {
    /// Whose order it is.
    pub location_id: LocationId,
    /// The order.
    pub order_id: OrderId,
    /// Why it is looked at.
    pub cause: Cause,
    /// The run that asked for it and counts its outcome.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub run_id: Option<RunId>,
    /// Which try this is, from 1; each wait after a failure adds one.
    #[serde(default = "first_attempt")]
    pub attempt: u32,
    /// When the first message about it was sent (in ms since the Unix epoch on the wire), where this one follows another:
    /// a fetch granted after that serves this one too.
    #[serde(
        rename = "noticed_at_ms",
        default,
        skip_serializing_if = "Option::is_none",
        with = "millisecond::optional"
    )]
    pub noticed_at: Option<Timestamp>,
    /// Since when the database has kept the work on it from being done (in ms since the Unix epoch on the wire), where it is
    /// sent again for that reason: no attempt is lost, but the patience is not endless.
    #[serde(
        rename = "waiting_since_ms",
        default,
        skip_serializing_if = "Option::is_none",
        with = "millisecond::optional"
    )]
    pub waiting_since: Option<Timestamp>,
    /// When a run dispatched it (in ms since the Unix epoch on the wire), by the database's clock, where it hasn't been tried since.
    #[serde(
        rename = "dispatched_at_ms",
        default,
        skip_serializing_if = "Option::is_none",
        with = "millisecond::optional"
    )]
    pub dispatched_at: Option<Timestamp>,
    /// Whether the order is claimed for it already: it waits for calls of the rate limit.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub claimed: bool,
    /// What an admin insists on.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub force: Option<Force>,
}

/// In `orders-bulk`: fetch these orders for a run. One message, since they share the calls that the rate limit will have for them.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct OrdersMessage {
    /// Whose orders they are.
    pub location_id: LocationId,
    /// The orders, [`MOST_TOGETHER`] at most.
    pub order_ids: Vec<OrderId>,
    /// Why they are looked at.
    pub cause: Cause,
    /// The run that asked for them and counts their outcomes.
    pub run_id: RunId,
    /// When it dispatched them (in ms since the Unix epoch on the wire), by the database's clock.
    #[serde(rename = "dispatched_at_ms", with = "millisecond::required")]
    pub dispatched_at: Timestamp,
    /// When the rate limit will have calls for them (in ms since the Unix epoch on the wire), by the sender's clock: nobody needs
    /// to ask for them before.
    #[serde(rename = "calls_at_ms", default, skip_serializing_if = "Option::is_none", with = "millisecond::optional")]
    pub calls_at: Option<Timestamp>,
}

/// In `tickets`: bring the tickets of these orders of a run into step with their rows.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct TicketsMessage {
    /// Whose orders they are.
    pub location_id: LocationId,
    /// The orders, [`MOST_TOGETHER`] at most.
    pub orders: Vec<StoredOrder>,
    /// Why they are looked at.
    pub cause: Cause,
    /// The run that asked for them and counts their outcomes.
    pub run_id: RunId,
}

/// An order of a [`TicketsMessage`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct StoredOrder {
    /// The order.
    pub order_id: OrderId,
    /// Which try of the order this is, from 1.
    #[serde(default = "first_attempt")]
    pub attempt: u32,
    /// What the upsert did to the row; for the counts only.
    pub change: Change,
}

/// Orders in one message at most. So many tickets are reconciled in one call, and a webhook's wait for no more than that.
pub const MOST_TOGETHER: usize = 50;

/// A message about one order or about several.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum OneOrMore<One, More> {
    /// About one.
    One(One),
    /// About several.
    More(More),
}

/// A message of `orders-bulk`; in `orders` all are about one.
pub type OrderWork = OneOrMore<OrderMessage, OrdersMessage>;
/// A message of `tickets`.
pub type TicketWork = OneOrMore<TicketMessage, TicketsMessage>;

/// In `tickets`: bring this order's tickets into step with its row.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct TicketMessage {
    /// Whose order it is.
    pub location_id: LocationId,
    /// The order.
    pub order_id: OrderId,
    /// Why it is looked at.
    pub cause: Cause,
    /// The run that asked for it and counts its outcome.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub run_id: Option<RunId>,
    /// Which try of the order this is, from 1.
    #[serde(default = "first_attempt")]
    pub attempt: u32,
    /// What the upsert did to the row; for the counts only.
    pub change: Change,
    /// Since when the database has kept the work on it from being done (in ms since the Unix epoch on the wire), where it is
    /// sent again for that reason: no attempt is lost, but the patience is not endless.
    #[serde(
        rename = "waiting_since_ms",
        default,
        skip_serializing_if = "Option::is_none",
        with = "millisecond::optional"
    )]
    pub waiting_since: Option<Timestamp>,
}

/// In `runs`: one pulse of a run.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RunMessage {
    /// Whose run it is.
    pub location_id: LocationId,
    /// The run.
    pub run_id: RunId,
    /// The pulse's number: a redelivered older pulse loses the compare-and-set on it and ends.
    pub pulse: i64,
    /// Since when the database has kept the work on it from being done (in ms since the Unix epoch on the wire), where it is
    /// sent again for that reason: no attempt is lost, but the patience is not endless.
    #[serde(
        rename = "waiting_since_ms",
        default,
        skip_serializing_if = "Option::is_none",
        with = "millisecond::optional"
    )]
    pub waiting_since: Option<Timestamp>,
    /// When the rate limit will have calls for more orders (in ms since the Unix epoch on the wire), by the sender's clock, as far
    /// as that is known: nobody needs to ask before.
    #[serde(rename = "calls_at_ms", default, skip_serializing_if = "Option::is_none", with = "millisecond::optional")]
    pub calls_at: Option<Timestamp>,
}

/// In `runs`: publish the progress of this location's run. What it is, the publisher asks the database when it begins.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PublishMessage {
    /// Whose progress.
    pub location_id: LocationId,
    /// Always true: tells it from a pulse.
    publish: bool,
}

impl PublishMessage {
    /// The progress of this location.
    #[must_use]
    pub const fn new(location_id: LocationId) -> Self {
        Self { location_id, publish: true }
    }
}

/// What `runs` holds.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(untagged, try_from = "RunFields")]
pub enum AnyRunMessage {
    /// A pulse.
    Pulse(RunMessage),
    /// A publication.
    Publish(PublishMessage),
}

/// The fields of either. Tried one after the other, a message that is neither wouldn't say which field is wrong.
#[derive(Deserialize)]
struct RunFields {
    location_id: LocationId,
    #[serde(default)]
    publish: bool,
    #[serde(default, deserialize_with = "given")]
    run_id: Option<RunId>,
    #[serde(default, deserialize_with = "given")]
    pulse: Option<i64>,
    #[serde(rename = "waiting_since_ms", default, with = "millisecond::optional")]
    waiting_since: Option<Timestamp>,
    #[serde(rename = "calls_at_ms", default, with = "millisecond::optional")]
    calls_at: Option<Timestamp>,
}

/// A field that may be missing, but not null.
fn given<'de, D: Deserializer<'de>, T: Deserialize<'de>>(field: D) -> Result<Option<T>, D::Error> {
    T::deserialize(field).map(Some)
}

impl TryFrom<RunFields> for AnyRunMessage {
    /// In the words of serde.
    type Error = &'static str;

    fn try_from(fields: RunFields) -> Result<Self, Self::Error> {
        let RunFields { location_id, publish, run_id, pulse, waiting_since, calls_at } = fields;
        if publish {
            return Ok(Self::Publish(PublishMessage::new(location_id)));
        }
        let run_id = run_id.ok_or("missing field `run_id`")?;
        let pulse = pulse.ok_or("missing field `pulse`")?;
        Ok(Self::Pulse(RunMessage { location_id, run_id, pulse, waiting_since, calls_at }))
    }
}

/// A message that may have to wait for the database.
pub trait Waiting: Clone {
    /// Since when it has waited.
    fn waiting_since(&mut self) -> &mut Option<Timestamp>;
}

/// Since when the one has waited that has waited for longer; of messages that are served together.
#[must_use]
pub fn earlier(one: Option<Timestamp>, other: Option<Timestamp>) -> Option<Timestamp> {
    one.into_iter().chain(other).min()
}

impl Waiting for OrderMessage {
    fn waiting_since(&mut self) -> &mut Option<Timestamp> {
        &mut self.waiting_since
    }
}

impl Waiting for TicketMessage {
    fn waiting_since(&mut self) -> &mut Option<Timestamp> {
        &mut self.waiting_since
    }
}

impl Waiting for RunMessage {
    fn waiting_since(&mut self) -> &mut Option<Timestamp> {
        &mut self.waiting_since
    }
}

impl OrdersMessage {
    /// A message for each of the orders.
    pub fn each(self) -> impl Iterator<Item = OrderMessage> {
        let Self { location_id, order_ids, cause, run_id, dispatched_at, calls_at: _ } = self;
        order_ids.into_iter().map(move |order_id| OrderMessage {
            dispatched_at: Some(dispatched_at),
            ..OrderMessage::new(location_id.clone(), order_id, cause).for_run(run_id.clone())
        })
    }
}

impl TicketsMessage {
    /// The messages of orders of one run and cause as one; `None` without any.
    #[must_use]
    pub fn of(messages: &[TicketMessage]) -> Option<Self> {
        let TicketMessage { location_id, cause, run_id, .. } = messages.first()?.clone();
        let order = |message: &TicketMessage| {
            let TicketMessage { order_id, attempt, change, .. } = message.clone();
            StoredOrder { order_id, attempt, change }
        };
        Some(Self { location_id, orders: messages.iter().map(order).collect(), cause, run_id: run_id? })
    }

    /// A message for each of the orders.
    pub fn each(self) -> impl Iterator<Item = TicketMessage> {
        let Self { location_id, orders, cause, run_id } = self;
        orders.into_iter().map(move |StoredOrder { order_id, attempt, change }| TicketMessage {
            location_id: location_id.clone(),
            order_id,
            cause,
            run_id: Some(run_id.clone()),
            attempt,
            change,
            waiting_since: None,
        })
    }
}

impl OrderMessage {
    /// The first try of an order.
    pub fn new(location_id: LocationId, order_id: OrderId, cause: Cause) -> Self {
        Self {
            location_id,
            order_id,
            cause,
            run_id: None,
            attempt: first_attempt(),
            noticed_at: None,
            waiting_since: None,
            dispatched_at: None,
            claimed: false,
            force: None,
        }
    }

    /// The same order, asked for by a run.
    #[must_use]
    pub fn for_run(mut self, run_id: RunId) -> Self {
        self.run_id = Some(run_id);
        self
    }

    /// What to hand over to `tickets` once the row is in step.
    pub fn into_ticket_message(self, change: Change) -> TicketMessage {
        let Self { location_id, order_id, cause, run_id, attempt, .. } = self;
        TicketMessage { location_id, order_id, cause, run_id, attempt, change, waiting_since: None }
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
        let (location_id, order_id) = (LocationId::try_new("loc").unwrap(), OrderId::try_new("ord").unwrap());
        let run_id = RunId::try_new("r1").unwrap();
        let message = OrderMessage::new(location_id.clone(), order_id, Cause::ValidList).for_run(run_id.clone());
        let mut wire = json!({
            "location_id": "loc", "order_id": "ord", "cause": "valid_list", "run_id": "r1", "attempt": 2,
            "noticed_at_ms": 1_750_000_000_123_i64,
        });
        let noticed_at = Some(Timestamp::from_millisecond(1_750_000_000_123).unwrap());
        let later = OrderMessage { attempt: 2, noticed_at, ..message.clone() };
        assert_eq!(serde_json::to_value(&later).unwrap(), wire);
        wire["attempt"] = json!(1);
        wire.as_object_mut().unwrap().remove("noticed_at_ms");
        assert_eq!(serde_json::to_value(&message).unwrap(), wire);
        wire["change"] = json!("stale");
        assert_eq!(serde_json::to_value(message.into_ticket_message(Change::Stale)).unwrap(), wire);
        let mut pulse = RunMessage { location_id, run_id, pulse: 3, waiting_since: None, calls_at: None };
        let mut wire = json!({"location_id": "loc", "run_id": "r1", "pulse": 3});
        assert_eq!(serde_json::to_value(&pulse).unwrap(), wire);
        let publication = PublishMessage::new(pulse.location_id.clone());
        assert_eq!(serde_json::to_value(&publication).unwrap(), json!({"location_id": "loc", "publish": true}));
        pulse.waiting_since = noticed_at;
        wire["waiting_since_ms"] = json!(1_750_000_000_123_i64);
        assert_eq!(serde_json::to_value(&pulse).unwrap(), wire);
    }
}

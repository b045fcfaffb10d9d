use domain::{LocationId, OrderId, RunId};
use serde::Deserialize;
use serde::de::IgnoredAny;

use crate::batch::SqsMessage;

/// What a message of any queue and version is about, also one that no function can read any more.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Subject {
    /// An order, in a run or alone.
    Order {
        /// Whose order it is.
        location_id: LocationId,
        /// The order.
        order_id: OrderId,
        /// The run that waits for it.
        run_id: Option<RunId>,
    },
    /// Several orders of a run: it sends them again, each alone.
    Orders {
        /// Whose orders they are.
        location_id: LocationId,
        /// The run that waits for them.
        run_id: RunId,
    },
    /// A run's pulse.
    Run {
        /// Whose run it is.
        location_id: LocationId,
        /// The run.
        run_id: RunId,
        /// The pulse's number, where it is one.
        pulse: Option<i64>,
    },
    /// A publication of the progress.
    Publication {
        /// Whose progress.
        location_id: LocationId,
    },
}

/// The fields that decide the subject. All others may have any value.
#[derive(Deserialize)]
struct Ids {
    location_id: LocationId,
    order_id: Option<OrderId>,
    #[serde(default)]
    run_id: Id<RunId>,
    pulse: Option<Id<i64>>,
    order_ids: Option<IgnoredAny>,
    orders: Option<IgnoredAny>,
    publish: Option<IgnoredAny>,
}

/// An id, or something else: an order counts as one without a run then.
#[derive(Deserialize)]
#[serde(untagged)]
enum Id<T> {
    Readable(T),
    Unreadable(IgnoredAny),
}

impl<T> Id<T> {
    fn readable(self) -> Option<T> {
        match self {
            Self::Readable(id) => Some(id),
            Self::Unreadable(_) => None,
        }
    }
}

impl<T> Default for Id<T> {
    fn default() -> Self {
        Self::Unreadable(IgnoredAny)
    }
}

impl Subject {
    /// The subject of a message; `None` where it names none.
    #[must_use]
    pub fn of(record: &SqsMessage) -> Option<Self> {
        let ids: Ids = serde_json::from_str(record.body.as_deref()?).ok()?;
        let Ids { location_id, order_id, run_id, pulse, order_ids, orders, publish } = ids;
        match (order_id, run_id.readable(), pulse) {
            (Some(order_id), run_id, _) => Some(Self::Order { location_id, order_id, run_id }),
            (None, Some(run_id), _) if order_ids.is_some() || orders.is_some() => {
                Some(Self::Orders { location_id, run_id })
            }
            (None, Some(run_id), Some(pulse)) => Some(Self::Run { location_id, run_id, pulse: pulse.readable() }),
            (None, ..) => publish.map(|_| Self::Publication { location_id }),
        }
    }

    /// Whose it is.
    #[must_use]
    pub const fn location_id(&self) -> &LocationId {
        match self {
            Self::Order { location_id, .. }
            | Self::Orders { location_id, .. }
            | Self::Run { location_id, .. }
            | Self::Publication { location_id } => location_id,
        }
    }
}

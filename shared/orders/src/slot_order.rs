//! One grant for calls that wait for their slots at the same time, such as a list's pages.

use std::sync::atomic::{AtomicUsize, Ordering};

use database::Database;
use jiff::Timestamp;
use tokio::sync::Mutex;

use crate::fetch::{FetchError, Fetcher};
use crate::grant::Grant;
use crate::slots::{Demand, OneSlot, SomeSlots};

/// Gives calls their slots in the order in which they ask. The first one asks for all that wait. Once one gets no slot in time, those
/// after it don't ask any more: whoever reads in order goes on at that one, so reading a later one now would be wasted.
#[derive(Debug, Default)]
pub struct SlotOrder {
    waiting: AtomicUsize,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    /// Why there are no more slots.
    closed: Option<OneSlot>,
    /// What is left of the last grant.
    granted: Option<(Grant, u32)>,
}

/// Counts one that waits, also if it is dropped before it gets its slot.
struct Waiting<'a>(&'a AtomicUsize);

impl<'a> Waiting<'a> {
    fn count(waiting: &'a AtomicUsize) -> Self {
        waiting.fetch_add(1, Ordering::Relaxed);
        Self(waiting)
    }
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

impl Fetcher {
    /// Waits for a slot until `deadline`, after those that asked before.
    ///
    /// # Errors
    /// [`FetchError::Database`], [`FetchError::DailyBudget`].
    pub async fn slot_in_order(
        &self,
        database: &Database,
        demand: Demand<'_>,
        deadline: std::time::Instant,
        order: &SlotOrder,
    ) -> Result<OneSlot, FetchError> {
        let _waiting = Waiting::count(&order.waiting);
        // Those who come at the same time are counted first.
        tokio::task::yield_now().await;
        let mut state = order.state.lock().await;
        if let Some(why) = state.closed {
            return Ok(why);
        }
        if let Some(at) = self.take_granted(database, &mut state).await {
            return Ok(OneSlot::At(at));
        }
        let wanted = order.waiting.load(Ordering::Relaxed);
        let slot = match self.some_slots(database, demand, wanted, deadline).await? {
            SomeSlots::Granted(grant, at) => {
                state.granted = without_one(grant, grant.calls);
                return Ok(OneSlot::At(at));
            }
            SomeSlots::Later(wait) => OneSlot::Later(wait),
            SomeSlots::RunOver => OneSlot::RunOver,
        };
        state.closed = Some(slot);
        Ok(slot)
    }

    /// One of the slots that were granted for all, if it may still be used.
    async fn take_granted(&self, database: &Database, state: &mut State) -> Option<Timestamp> {
        let (grant, left) = state.granted.take()?;
        let Some(at) = grant.sends_now() else {
            self.hand_back(database, &grant, left).await;
            return None;
        };
        state.granted = without_one(grant, left);
        Some(at)
    }
}

/// What is left of a grant once one more of its calls is taken.
fn without_one(grant: Grant, left: u32) -> Option<(Grant, u32)> {
    (left > 1).then(|| (grant, left - 1))
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, Instant};

    use database::Lane;
    use futures::future::join_all;

    use super::*;
    use crate::near::Near;

    #[tokio::test]
    async fn calls_that_wait_at_the_same_time_share_a_grant() {
        let near = Near::new().await;
        let order = SlotOrder::default();
        let slot = || {
            let (demand, deadline) = (Demand::new(Lane::Bulk, None), Instant::now() + Duration::from_secs(5));
            near.fetcher.slot_in_order(&near.database, demand, deadline, &order)
        };
        // The first call of all only measures the way.
        near.fetcher.ask(&near.database, Demand::new(Lane::Bulk, None), 0).await.unwrap();
        let before = near.slots_wanted();
        let slots = join_all((0..5).map(|_| slot())).await;
        assert!(slots.iter().all(|slot| matches!(slot, Ok(OneSlot::At(_)))), "{slots:?}");
        assert!(matches!(slot().await, Ok(OneSlot::At(_))));
        assert_eq!(near.slots_wanted()[before.len()..], [5, 1]);
    }

    #[tokio::test]
    async fn after_one_that_gets_none_in_time_nobody_asks() {
        let near = Near::new().await;
        near.grant_nothing();
        let order = SlotOrder::default();
        let slot = || {
            let deadline = Instant::now() + Duration::from_millis(30);
            near.fetcher.slot_in_order(&near.database, Demand::new(Lane::Bulk, None), deadline, &order)
        };
        let slots = join_all((0..3).map(|_| slot())).await;
        assert!(slots.iter().all(|slot| matches!(slot, Ok(OneSlot::Later(_)))), "{slots:?}");
        let asked = near.slots_wanted();
        assert!(matches!(slot().await, Ok(OneSlot::Later(_))));
        assert_eq!(near.slots_wanted(), asked);
    }
}

//! Whose fault a refusal is: GHL may refuse one order for good while it shows the others. Only a refused list proves that the token
//! is.

use std::time::Duration;

use database::{Database, Lane};
use domain::FailureClass;
use secrecy::{ExposeSecret as _, SecretString};
use tokio::sync::Mutex;
use tokio::time::Instant;

use crate::fetch::{FetchError, Fetched, Fetcher, Order};
use crate::slots::{Demand, OneSlot};

/// How long a proof holds for a 403. What GHL answers to a token that it has ceased to accept is 401.
const HOLDS: Duration = Duration::from_secs(60);
/// How long it holds for a 401, so that a batch of them costs one call: a token that was revoked since would fail orders for good.
const HOLDS_BRIEFLY: Duration = Duration::from_secs(5);
/// How long it holds that the list was refused as well: as long as a batch is judged. A token that was mended since would end the next
/// run.
const REFUSAL_HOLDS: Duration = Duration::from_secs(1);
/// How long the slot for the call is waited for.
const PATIENCE: Duration = Duration::from_secs(10);

/// What GHL last answered to a list, which it was asked for because it had refused an order. Held while it is asked, so that
/// whoever comes meanwhile waits for the one answer.
#[derive(Default)]
pub(crate) struct TokenProof(Mutex<Option<Proven>>);

struct Proven {
    token: SecretString,
    accepted: bool,
    /// When it was asked.
    at: Instant,
}

impl Proven {
    fn holds(&self, token: &SecretString, for_so_long: Duration) -> bool {
        let for_so_long = if self.accepted { for_so_long } else { for_so_long.min(REFUSAL_HOLDS) };
        self.token.expose_secret() == token.expose_secret() && self.at.elapsed() < for_so_long
    }
}

impl Fetcher {
    /// Finds out of each refused order whether it is refused itself, or the token.
    pub(crate) async fn judge_refusals(
        &self,
        database: &Database,
        mut fetched: Vec<(Order, Fetched)>,
        deadline: Instant,
    ) -> Vec<(Order, Fetched)> {
        for (_, fetched) in &mut fetched {
            if let Fetched::Failed(FetchError::Ghl(ghl_client::Error::Status {
                status: status @ (401 | 403), ..
            })) = fetched
            {
                let holds = if *status == 401 { HOLDS_BRIEFLY } else { HOLDS };
                let accepted = self.token_is_accepted(database, holds, deadline).await;
                *fetched = match std::mem::replace(fetched, Fetched::RunOver) {
                    Fetched::Failed(FetchError::Ghl(error)) => Fetched::Failed(match accepted {
                        Some(true) => FetchError::OrderRefused(error),
                        Some(false) => FetchError::Ghl(error),
                        None => FetchError::Undecided(error),
                    }),
                    other => other,
                };
            }
        }
        fetched
    }

    /// Whether GHL lists orders for the token; `None` if it doesn't say so in time. In the lane of webhooks: it is one call, and
    /// others wait for what it tells.
    async fn token_is_accepted(&self, database: &Database, holds: Duration, deadline: Instant) -> Option<bool> {
        let mut proven = self.proof.0.lock().await;
        let token = self.token.get().await.ok()?;
        if let Some(proven) = proven.as_ref().filter(|proven| proven.holds(&token, holds)) {
            return Some(proven.accepted);
        }
        let latest = deadline.min(Instant::now() + PATIENCE);
        // A call takes its whole time-out at worst.
        if Instant::now() >= latest {
            return None;
        }
        let (accepted, at) = match self.ask_for_list(database, &token, latest).await {
            Ok(answered) => answered?,
            Err(error) => {
                tracing::warn!(
                    error = telemetry::chain(&error),
                    "It could not be found out whether GHL accepts the token"
                );
                return None;
            }
        };
        *proven = Some(Proven { token, accepted, at });
        Some(accepted)
    }

    /// Whether GHL accepts the token for a list, and when it was asked; `None` without a slot in time.
    async fn ask_for_list(
        &self,
        database: &Database,
        token: &SecretString,
        latest: Instant,
    ) -> Result<Option<(bool, Instant)>, FetchError> {
        let slot = self.one_slot(database, Demand::new(Lane::Priority, None), latest.into_std()).await?;
        let OneSlot::At(_) = slot else { return Ok(None) };
        let at = Instant::now();
        match self.client.list_orders(token, 0, 1, None).await {
            Ok(_) => Ok(Some((true, at))),
            Err(error) if error.class() == FailureClass::Auth => Ok(Some((false, at))),
            Err(error) => Err(FetchError::Ghl(error)),
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::near::Near;

    fn is_refused(fetched: &Fetched) -> bool {
        matches!(fetched, Fetched::Failed(FetchError::OrderRefused(_)))
    }

    #[tokio::test(start_paused = true)]
    async fn a_hundred_orders_that_are_refused_cost_one_list() {
        for status in [401, 403] {
            let near = Near::new().await;
            near.refuse("/payments/orders/", status);
            let fetched = near.fetch(&(0..100).map(|n| format!("order-{n}")).collect::<Vec<_>>()).await;
            assert_eq!(fetched.iter().filter(|(_, fetched)| is_refused(fetched)).count(), 100, "{status}: {fetched:?}");
            assert_eq!(near.calls("/payments/orders"), 1, "{status}");
            let (_, Fetched::Failed(error)) = &fetched[0] else { panic!("{fetched:?}") };
            assert_eq!(
                (error.class(), error.code(), error.stops_run()),
                (FailureClass::Permanent, "order_refused", false)
            );
            assert!(error.order_reason().contains("this order"), "{}", error.order_reason());
        }
    }

    #[tokio::test(start_paused = true)]
    async fn the_others_of_the_batch_are_read() {
        let near = Near::new().await;
        near.refuse("/payments/orders/order-1", 403);
        let fetched = near.fetch(&["order-1", "order-2"].map(str::to_owned)).await;
        for (order, fetched) in &fetched {
            assert_eq!(is_refused(fetched), order.id.as_str() == "order-1", "{fetched:?}");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_list_that_is_refused_too_proves_the_token_wrong() {
        let near = Near::new().await;
        near.refuse("/payments/orders", 401);
        near.refuse("/payments/orders/", 401);
        let fetched = near.fetch(&["order-1".to_owned()]).await;
        let (_, Fetched::Failed(error)) = &fetched[0] else { panic!("{fetched:?}") };
        assert_eq!((error.class(), error.code(), error.stops_run()), (FailureClass::Auth, "ghl_unauthorized", true));
    }

    #[tokio::test(start_paused = true)]
    async fn without_an_answer_the_order_is_tried_again() {
        let near = Near::new().await;
        near.refuse("/payments/orders", 502);
        near.refuse("/payments/orders/", 403);
        let fetched = near.fetch(&["order-1".to_owned()]).await;
        let (_, Fetched::Failed(error)) = &fetched[0] else { panic!("{fetched:?}") };
        assert_eq!(
            (error.class(), error.code(), error.stops_run()),
            (FailureClass::Transient, "ghl_unavailable", false)
        );
    }

    #[tokio::test(start_paused = true)]
    async fn a_proof_holds_for_a_minute_and_for_a_401_for_seconds() {
        for (status, holds) in [(403, HOLDS), (401, HOLDS_BRIEFLY)] {
            let near = Near::new().await;
            near.refuse("/payments/orders/", status);
            let one = ["order-1".to_owned()];
            near.fetch(&one).await;
            tokio::time::sleep(holds / 2).await;
            near.fetch(&one).await;
            assert_eq!(near.calls("/payments/orders"), 1, "{status}");
            // It was revoked meanwhile.
            near.refuse("/payments/orders", 401);
            tokio::time::sleep(holds).await;
            let fetched = near.fetch(&one).await;
            assert!(!is_refused(&fetched[0].1), "{status}: {fetched:?}");
            assert_eq!(near.calls("/payments/orders"), 2, "{status}");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_token_that_may_list_again_is_asked_about_after_a_second() {
        let near = Near::new().await;
        near.refuse("/payments/orders", 403);
        near.refuse("/payments/orders/", 403);
        let one = ["order-1".to_owned()];
        assert!(!is_refused(&near.fetch(&one).await[0].1));
        near.admit("/payments/orders");
        assert!(!is_refused(&near.fetch(&one).await[0].1), "what was proven still holds");
        tokio::time::sleep(REFUSAL_HOLDS).await;
        assert!(is_refused(&near.fetch(&one).await[0].1));
    }

    #[tokio::test]
    async fn nothing_is_asked_where_nothing_is_refused() {
        let near = Near::new().await;
        near.answer("/payments/orders/order-2", json!({ "statusCode": 500 }));
        near.fetch(&["order-1", "order-2"].map(str::to_owned)).await;
        assert_eq!(near.calls("/payments/orders"), 0);
    }
}

//! Fetches orders from GHL: as many at once as the shared limiter grants, the rest as soon as it grants more.

use std::collections::VecDeque;
use std::panic::AssertUnwindSafe;
use std::time::Duration;

use database::{Database, Lane, Limits};
use domain::{FailureClass, OrderId, RunId};
use futures::FutureExt as _;
use futures::future::BoxFuture;
use futures::stream::{FuturesUnordered, StreamExt as _};
use jiff::Timestamp;
use settings::Secret;
use telemetry::metrics::{self, Metric};
use tokio::time::Instant;

use crate::Grant;
use crate::proof::TokenProof;
use crate::punctuality::Punctuality;
use crate::slots::{Answered, Demand, SHORTEST_WAIT, run_is_over};

/// What to fetch.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Order {
    /// Which order.
    pub id: OrderId,
    /// The run it is fetched for: no fetch starts once that run has left `Syncing`.
    pub run_id: Option<RunId>,
    /// When the run dispatched it.
    pub dispatched_at: Option<Timestamp>,
}

/// The result of fetching one order.
#[derive(Debug)]
pub enum Fetched {
    /// It was read.
    Order {
        /// As read.
        order: Box<domain::Order>,
        /// When it was asked for, by the database's clock.
        at: Timestamp,
    },
    /// It wasn't.
    Failed(FetchError),
    /// There was no free slot in time; one may be free after this.
    NotStarted(Duration),
    /// The database didn't say whether there is a slot.
    NoDatabase,
    /// Its run has ended.
    RunOver,
}

/// Why an order couldn't be fetched.
#[derive(Debug, thiserror::Error)]
pub enum FetchError {
    /// GHL's answer.
    #[error(transparent)]
    Ghl(#[from] ghl_client::Error),
    /// The call for a slot or for the product list failed.
    #[error("the database call failed")]
    Database(#[source] database::Error),
    /// The token couldn't be read.
    #[error("the GHL access token could not be read")]
    Token(#[source] settings::SettingsError),
    /// The rate limit had no free slot in time.
    #[error("GHL's rate limit had no free slot in time")]
    NoSlot,
    /// The day's budget of calls is used up except for the reserve: the run stops.
    #[error(
        "GHL's budget of calls for today is nearly used up, and the rest is kept for webhooks; start the sync again tomorrow"
    )]
    DailyBudget,
    /// GHL refuses this order for good, and not the token, which a list was read with since.
    #[error("GoHighLevel refuses to show this order, although it accepts the access token; look the order up there")]
    OrderRefused(#[source] ghl_client::Error),
    /// GHL refuses this order, and didn't tell whether it is on account of the token.
    #[error("GoHighLevel refused to show this order, and did not answer whether it accepts the access token")]
    Undecided(#[source] ghl_client::Error),
    /// Reading it panicked. That is a bug, and fails only this order.
    #[error("reading the order failed unexpectedly; please report this with the order id")]
    Panicked,
}

impl FetchError {
    /// How the failure is treated.
    #[must_use]
    pub fn class(&self) -> FailureClass {
        match self {
            Self::Ghl(error) => error.class(),
            Self::Database(error) => error.class(),
            Self::Token(_) => FailureClass::Auth,
            Self::NoSlot | Self::DailyBudget | Self::Undecided(_) => FailureClass::Transient,
            Self::OrderRefused(_) | Self::Panicked => FailureClass::Permanent,
        }
    }

    /// Whether every order would fail in the same way, so that the run ends.
    #[must_use]
    pub fn stops_run(&self) -> bool {
        self.class() == FailureClass::Auth || matches!(self, Self::DailyBudget)
    }

    /// A sentence for an admin: `what` failed, and why.
    #[must_use]
    pub fn reason(&self, what: &str) -> String {
        match self {
            Self::Ghl(error) if error.class() == FailureClass::Auth => {
                format!("{what}: GoHighLevel refuses the access token, please check it")
            }
            _ => format!("{what}: {self}"),
        }
    }

    /// [`Self::reason`] for an order.
    #[must_use]
    pub fn order_reason(&self) -> String {
        self.reason("Failed to fetch order details")
    }

    /// A stable code for reports.
    #[must_use]
    pub const fn code(&self) -> &'static str {
        match self {
            Self::Ghl(error) => error.code(),
            Self::Database(_) => "database_unavailable",
            Self::Token(_) => "ghl_unauthorized",
            Self::NoSlot => "rate_limited",
            Self::DailyBudget => "daily_budget_exhausted",
            Self::OrderRefused(_) => "order_refused",
            Self::Undecided(_) => "ghl_unavailable",
            Self::Panicked => "internal",
        }
    }
}

/// Fetches orders within the shared rate limit.
pub struct Fetcher {
    pub(crate) client: ghl_client::Client,
    pub(crate) token: Secret,
    pub(crate) limits: Limits,
    pub(crate) punctuality: Punctuality,
    pub(crate) proof: TokenProof,
}

impl Fetcher {
    /// A fetcher for one location.
    #[must_use]
    pub fn new(client: ghl_client::Client, token: Secret, limits: Limits) -> Self {
        Self { client, token, limits, punctuality: Punctuality::default(), proof: TokenProof::default() }
    }

    /// The limit's configuration.
    #[must_use]
    pub const fn limits(&self) -> &Limits {
        &self.limits
    }

    /// The client, for calls other than an order's.
    #[must_use]
    pub const fn client(&self) -> &ghl_client::Client {
        &self.client
    }

    /// The token's source.
    #[must_use]
    pub const fn token(&self) -> &Secret {
        &self.token
    }

    /// Fetches orders of one lane and (at most) one run; every order is in the answer once. Waits for slots for
    /// `patience` at most, and until `deadline`. If GHL refuses an order, a list tells whether it refuses the token.
    pub async fn fetch_all(
        &self,
        database: &Database,
        orders: Vec<Order>,
        lane: Lane,
        mut patience: Duration,
        deadline: std::time::Instant,
    ) -> Vec<(Order, Fetched)> {
        let mut waiting: VecDeque<(Order, bool)> = orders.into_iter().map(|order| (order, false)).collect();
        let mut calls: FuturesUnordered<BoxFuture<'_, (Order, bool, Fetched)>> = FuturesUnordered::new();
        let mut done = Vec::new();
        let (started, deadline) = (Instant::now(), Instant::from_std(deadline));
        let mut ask_at = started;
        // Asked while calls are under way, so that no answer of GHL waits for one of the limiter.
        let mut asking: Option<BoxFuture<'_, Answered>> = None;
        loop {
            if asking.is_none()
                && Instant::now() >= ask_at
                && let Some((first, _)) = waiting.front()
            {
                let (wanted, run_id, dispatched_at) = (waiting.len(), first.run_id.clone(), first.dispatched_at);
                let ask = async move {
                    let demand = Demand { dispatched_at, ..Demand::new(lane, run_id.as_ref()) };
                    self.ask(database, demand, wanted).await
                };
                asking = Some(ask.boxed());
            }
            let is_asking = asking.is_some();
            let asked = async {
                match asking.as_mut() {
                    Some(asked) => asked.await,
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                // A call that was granted is sent before anything else.
                biased;
                Some((order, again, fetched)) = calls.next(), if !calls.is_empty() => match fetched {
                    // The token was refused, and reading it again returned another one: the order is tried once more.
                    Fetched::Failed(error) if !again && self.token_was_renewed(&error).await => waiting.push_back((order, true)),
                    fetched => done.push((order, fetched)),
                },
                asked = asked, if is_asking => {
                    asking = None;
                    let wait = match asked {
                        Ok((slots, _)) if run_is_over(&slots) => {
                            done.extend(waiting.drain(..).map(|(order, _)| (order, Fetched::RunOver)));
                            continue;
                        }
                        Ok((slots, _)) if slots.budget_exhausted => {
                            let exhausted = |(order, _)| (order, Fetched::Failed(FetchError::DailyBudget));
                            done.extend(waiting.drain(..).map(exhausted));
                            continue;
                        }
                        Ok((slots, grant)) => {
                            if let Some(grant) = grant {
                                for (order, again) in waiting.drain(..waiting.len().min(grant.calls as usize)) {
                                    if !again {
                                        metrics::value(Metric::LimiterWaitMs, started.elapsed().as_millis() as f64);
                                    }
                                    calls.push(self.fetch_one(order, grant, again).boxed());
                                }
                            }
                            self.wait_of(&slots)
                        }
                        Err(error) => {
                            tracing::error!(
                                orders = waiting.len(),
                                error = telemetry::chain(&error),
                                "Database connection error: the rate limiter could not be asked"
                            );
                            done.extend(waiting.drain(..).map(|(order, _)| (order, Fetched::NoDatabase)));
                            continue;
                        }
                    };
                    ask_at = Instant::now() + wait;
                    if wait > patience || ask_at >= deadline {
                        done.extend(waiting.drain(..).map(|(order, _)| (order, Fetched::NotStarted(wait))));
                    }
                    patience = patience.saturating_sub(wait);
                }
                () = tokio::time::sleep_until(ask_at), if !waiting.is_empty() && !is_asking => {}
                else => break,
            }
        }
        self.judge_refusals(database, done, deadline).await
    }

    async fn fetch_one(&self, order: Order, grant: Grant, again: bool) -> (Order, bool, Fetched) {
        let call = async {
            let token = self.token.get().await.map_err(FetchError::Token)?;
            // Nothing is awaited between this and sending.
            let Some(at) = grant.sends_now() else { return Ok(None) };
            Ok(Some((self.client.order(&token, &order.id).await?, at)))
        };
        let fetched = match AssertUnwindSafe(call).catch_unwind().await {
            Ok(Ok(Some((read, at)))) => Fetched::Order { order: Box::new(read), at },
            Ok(Ok(None)) => Fetched::NotStarted(SHORTEST_WAIT),
            Ok(Err(error)) => Fetched::Failed(error),
            Err(_panic) => Fetched::Failed(FetchError::Panicked),
        };
        (order, again, fetched)
    }

    /// Whether a newly read token differs from the refused one.
    async fn token_was_renewed(&self, error: &FetchError) -> bool {
        use secrecy::ExposeSecret as _;
        if !matches!(error, FetchError::Ghl(ghl_client::Error::Status { status: 401, .. })) {
            return false;
        }
        let (Ok(old), Ok(new)) = (self.token.get().await, self.token.refresh().await) else { return false };
        old.expose_secret() != new.expose_secret()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn answered(status: u16) -> FetchError {
        ghl_client::Error::Status { call: "get order", status, not_found: false, timed_out: false, trace_id: None }
            .into()
    }

    #[test]
    fn a_refused_token_is_named_only_if_ghl_refused_it() {
        for refused in [answered(401), answered(403)] {
            let reason = refused.order_reason();
            assert_eq!(reason, "Failed to fetch order details: GoHighLevel refuses the access token, please check it");
        }
        let key = settings::SettingsError::MissingSecret { name: "SUPABASE_SERVICE_ROLE_KEY".to_owned() };
        let database = FetchError::Database(database::Error::Key(key));
        assert_eq!(database.class(), FailureClass::Auth);
        assert_eq!(database.order_reason(), "Failed to fetch order details: the database call failed");
        assert_eq!(answered(500).reason("Listing failed"), "Listing failed: get order: GHL answered 500");
    }

    /// They would be sent again every second without end, if they counted as waiting for a slot.
    #[tokio::test]
    async fn without_the_database_orders_wait_for_it_and_not_for_a_slot() {
        // Nobody listens there.
        let nowhere = "http://127.0.0.1:1";
        let env = settings::Env::of([
            ("GHL_API_BASE_URL", nowhere),
            ("GHL_ACCESS_TOKEN", "invented"),
            ("SUPABASE_URL", nowhere),
            ("SUPABASE_SERVICE_ROLE_KEY", "invented"),
            ("GHL_LOCATION_ID", "loc"),
        ]);
        let http = http_client::HttpClient::new().unwrap();
        let database = wiring::database(&env, http.clone()).unwrap();
        let fetcher = crate::setup::fetcher(&env, http).unwrap();
        let orders =
            ["a", "b"].map(|id| Order { id: OrderId::try_new(id).unwrap(), run_id: None, dispatched_at: None });
        let deadline = std::time::Instant::now() + Duration::from_secs(60);
        let fetched = fetcher.fetch_all(&database, orders.to_vec(), Lane::Bulk, Duration::MAX, deadline).await;
        assert_eq!(fetched.len(), 2);
        assert!(fetched.iter().all(|(_, fetched)| matches!(fetched, Fetched::NoDatabase)), "{fetched:?}");
    }
}

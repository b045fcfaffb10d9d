//! Listing: page after page within the rate limit, each recorded and dispatched while the next ones are read.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::{Duration, Instant};

use database::{Lane, PageOrder, PageRecord};
use domain::listing::{Listing, Page, Phase};
use domain::{FailureClass, Issue, Run, RunKind, RunState, failure};
use futures::StreamExt;
use futures::future::{BoxFuture, FutureExt};
use futures::stream::FuturesOrdered;
use ghl::OrderPage;
use jiff::Timestamp;
use orders::FetchError;
use tokio::sync::Mutex;

use crate::worker::{RunWorker, words};

/// Why a page isn't there.
enum NoPage {
    /// The time is up or the run has ended: the next pulse goes on, if there is one.
    Later,
    /// The page size was refused: ask for smaller pages.
    TooLarge,
    /// It failed for good.
    Failed(FetchError),
}

/// Pages that are being read at the same time: with GHL's usual latency enough to use up the rate limit.
const PAGES_AHEAD: usize = 4;

/// Pages get their slots in turn; once one got none in time, those behind it don't ask, so that none is read that a hand-over to the
/// next pulse would forget.
#[derive(Default)]
struct Turns {
    over: Mutex<bool>,
}

/// Reads the pages that follow, as long as each is likely to be a full one. What comes is looked at in the listing's order, so it
/// decides as if it had read one page after the other; only where it leaves that path (rows were lost, GHL refuses
/// the page size) a page was read in vain.
struct ReadAhead<'a> {
    worker: &'a RunWorker,
    run: &'a Run,
    deadline: Instant,
    places: VecDeque<Listing>,
    turns: Arc<Turns>,
    answers: FuturesOrdered<BoxFuture<'a, Result<OrderPage, NoPage>>>,
}

impl<'a> ReadAhead<'a> {
    fn new(worker: &'a RunWorker, run: &'a Run, deadline: Instant) -> Self {
        let (places, answers) = (VecDeque::new(), FuturesOrdered::new());
        Self { worker, run, deadline, places, turns: Arc::default(), answers }
    }

    /// The next page is to be this one; those behind it are read as far as `total` rows reach, if that is known.
    fn aim(&mut self, listing: &Listing, total: u64) {
        if !self.places.front().is_some_and(|first| first.is_same_page(listing)) {
            self.places.clear();
            self.answers = FuturesOrdered::new();
        }
        while self.places.len() < PAGES_AHEAD {
            let next = match self.places.back() {
                None => listing.clone(),
                Some(last) => last.behind_a_full_page(),
            };
            if !self.places.is_empty() && next.offset >= total {
                break;
            }
            let (worker, run, deadline) = (self.worker, self.run, self.deadline);
            let (place, turns) = (next.clone(), self.turns.clone());
            self.answers.push_back(async move { worker.page(run, &place, deadline, &turns).await }.boxed());
            self.places.push_back(next);
        }
    }

    /// The page that was aimed at. While it is waited for, the others go on.
    async fn next(&mut self) -> Result<OrderPage, NoPage> {
        self.places.pop_front();
        self.answers.next().await.unwrap_or(Err(NoPage::Later))
    }
}

impl RunWorker {
    /// Lists until everything is listed or `deadline` has come. `false` when the run has ended meanwhile.
    pub(crate) async fn list(&self, run: &Run, deadline: Instant) -> Result<bool, lambda_runtime::Error> {
        let sweep = matches!(run.kind, RunKind::Incremental);
        let mut listing = match &run.listing {
            Some(listing) => listing.clone(),
            None => {
                if !self.read_products(run, deadline).await? {
                    return Ok(false);
                }
                Listing::start(sweep)
            }
        };
        let mut issues = Vec::new();
        let mut ahead = ReadAhead::new(self, run, deadline);
        // Phase and total of this pulse's last page, and the answer for the next one where it came meanwhile.
        let (mut last, mut came) = (None, None);
        loop {
            let answer = match came.take() {
                Some(answer) => answer,
                None => {
                    ahead.aim(&listing, total_of(last, &listing));
                    ahead.next().await
                }
            };
            let page = match answer {
                Ok(page) => page,
                Err(NoPage::Later) => {
                    // The next pulse goes on behind the last page instead of reading it again.
                    if let Some((_, total)) = last.filter(|(phase, _)| *phase == listing.phase) {
                        let none = OrderPage { orders: Vec::new(), unreadable: 0, total };
                        let recorded = self.record(run, &listing, &none, issues).await?;
                        return Ok(recorded.state == RunState::Syncing);
                    }
                    return Ok(true);
                }
                Err(NoPage::TooLarge) => match listing.with_small_pages() {
                    Some(smaller) => {
                        listing = smaller;
                        continue;
                    }
                    None => {
                        self.end(run, "ghl_refused", "Listing orders failed: GoHighLevel refuses pages of 50 orders")
                            .await?;
                        return Ok(false);
                    }
                },
                Err(NoPage::Failed(error)) => {
                    let what = format!("Listing orders failed at the page from row {}", listing.offset);
                    self.end(run, error.code(), &words(error.class(), &what, &error)).await?;
                    return Ok(false);
                }
            };
            last = Some((listing.phase, page.total));
            let ids: Vec<_> = page.orders.iter().map(|order| order.id.to_string()).collect();
            let told = Page { ids: &ids, total: page.total };
            let found = std::mem::take(&mut issues);
            if listing.goes_on_after(told) {
                // What follows a full page doesn't depend on what the database counts: it is read while this one is recorded.
                let (next, noticed) = listing.after(told, 0);
                ahead.aim(&next, total_of(last, &next));
                let recording = async {
                    let recorded = self.record(run, &listing, &page, found).await?;
                    if recorded.state == RunState::Syncing {
                        self.dispatch(run).await?;
                    }
                    Ok::<_, lambda_runtime::Error>(recorded.state)
                };
                let (state, answer) = tokio::join!(recording, ahead.next());
                if state? != RunState::Syncing {
                    return Ok(false);
                }
                (listing, issues, came) = (next, noticed, Some(answer));
                continue;
            }
            let recorded = self.record(run, &listing, &page, found).await?;
            if recorded.state != RunState::Syncing {
                return Ok(false);
            }
            (listing, issues) = listing.after(told, recorded.listed);
            if listing.is_done() {
                let none = OrderPage { orders: Vec::new(), unreadable: 0, total: page.total };
                let recorded = self.record(run, &listing, &none, issues).await?;
                return Ok(recorded.state == RunState::Syncing);
            }
            self.dispatch(run).await?;
        }
    }

    /// Records a page; the listing is where a later pulse goes on if this one dies.
    async fn record(
        &self,
        run: &Run,
        listing: &Listing,
        page: &OrderPage,
        mut issues: Vec<Issue>,
    ) -> Result<Run, lambda_runtime::Error> {
        if page.unreadable > 0 {
            let message = format!(
                "{} rows of the page from row {} have no usable _id and were left out.",
                page.unreadable, listing.offset
            );
            issues.push(Issue::new("row_unreadable", message));
        }
        let ours = self.database.location_id().as_str();
        let orders = page
            .orders
            .iter()
            .map(|order| PageOrder {
                order_id: order.id.clone(),
                source_updated_at: order.updated_at,
                foreign: order.location_id.as_deref().is_some_and(|location| location != ours),
            })
            .collect();
        let sweep = listing.phase == Phase::Refunds;
        let total_count = (!sweep).then_some(page.total);
        let record = PageRecord { run_id: &run.run_id, listing, total_count, sweep, orders, issues };
        let recorded = self.database.record_page(record).await?;
        self.publish(recorded.publication).await;
        Ok(recorded.run)
    }

    /// One page, tried until it is there, refused, or has failed as often as anything may.
    async fn page(&self, run: &Run, listing: &Listing, deadline: Instant, turns: &Turns) -> Result<OrderPage, NoPage> {
        let filter = (listing.phase == Phase::Refunds).then_some("refunded");
        let mut attempt = 1;
        loop {
            let error = match self.slot_in_turn(run, deadline, turns).await {
                Ok(None) => return Err(NoPage::Later),
                Err(error) => error,
                Ok(Some(_)) => {
                    let token =
                        self.fetcher.token().get().await.map_err(|error| NoPage::Failed(FetchError::Token(error)))?;
                    match self.fetcher.client().list_orders(&token, listing.offset, listing.page_size, filter).await {
                        Ok(page) => return Ok(page),
                        Err(error) if error.is_refused_parameter() => return Err(NoPage::TooLarge),
                        Err(error) => FetchError::Ghl(error),
                    }
                }
            };
            self.back_off(error, &mut attempt, deadline).await?;
        }
    }

    /// A slot for a page, after the pages before it; `None` when there was none in time or the run has ended.
    async fn slot_in_turn(&self, run: &Run, deadline: Instant, turns: &Turns) -> Result<Option<Timestamp>, FetchError> {
        let mut over = turns.over.lock().await;
        if *over {
            return Ok(None);
        }
        let slot = self.fetcher.one_slot(&self.database, Lane::Bulk, Some(&run.run_id), deadline).await?;
        *over = slot.is_none();
        Ok(slot)
    }

    /// Reads the product list at the start of a run; without any product, no order could be valid.
    async fn read_products(&self, run: &Run, deadline: Instant) -> Result<bool, lambda_runtime::Error> {
        let mut attempt = 1;
        loop {
            let error =
                match orders::products::refresh(&self.database, &self.fetcher, Lane::Bulk, Some(&run.run_id), deadline)
                    .await
                {
                    Ok(products) if products.is_empty() => {
                        self.end(
                            run,
                            "no_valid_products",
                            "No valid products found: GoHighLevel's product list is empty",
                        )
                        .await?;
                        return Ok(false);
                    }
                    Ok(_) => return Ok(true),
                    Err(error) => error,
                };
            match self.back_off(error, &mut attempt, deadline).await {
                Ok(()) => {}
                Err(NoPage::Failed(error)) => {
                    self.end(run, error.code(), &words(error.class(), "Listing products failed", &error)).await?;
                    return Ok(false);
                }
                Err(NoPage::Later | NoPage::TooLarge) => return Ok(false),
            }
        }
    }

    /// Waits before the next attempt, or tells that there is none.
    async fn back_off(&self, error: FetchError, attempt: &mut u32, deadline: Instant) -> Result<(), NoPage> {
        if matches!(error, FetchError::NoSlot) {
            return Err(NoPage::Later);
        }
        let wait = match error.class() {
            _ if error.stops_run() => None,
            FailureClass::Transient => failure::retry_after(*attempt, fastrand::f64()),
            FailureClass::Permanent | FailureClass::Auth => None,
        };
        let Some(wait) = wait.map(|wait| self.pace.of(wait)) else { return Err(NoPage::Failed(error)) };
        tracing::warn!(attempt, error = telemetry::chain(&error), "A list could not be read; it is tried again");
        *attempt += 1;
        tokio::time::sleep(
            wait.min(deadline.saturating_duration_since(Instant::now()).max(Duration::from_millis(100))),
        )
        .await;
        Ok(())
    }
}

/// How many rows GHL counts in what is being listed; nothing before its first page.
fn total_of(last: Option<(Phase, u64)>, listing: &Listing) -> u64 {
    last.filter(|(phase, _)| *phase == listing.phase).map_or(0, |(_, total)| total)
}

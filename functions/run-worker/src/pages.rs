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

use crate::worker::RunWorker;

/// Why a page isn't there.
enum NoPage {
    /// The time is up or the run has ended: the next pulse continues, if there is one.
    Later,
    /// The page size was refused: ask for smaller pages.
    TooLarge,
    /// It failed for good.
    Failed(FetchError),
}

/// Pages that are read at the same time. At 400 ms per answer four make ten calls a second, more
/// than the 8 a second that a run may make. More pages would only wait for the database, which records them one by one.
const PAGES_AHEAD: usize = 4;

/// Gives pages their slots in the order of the listing. Once a page gets no slot in time, the pages after it don't ask for one:
/// the next pulse continues at that page, so reading a later one now would be wasted.
#[derive(Default)]
struct SlotOrder {
    closed: Mutex<bool>,
}

/// Reads the pages that follow, as long as each is likely to be a full one. The answers are handled in the listing's order, so
/// every decision is the same as if the pages were read one after the other. Only when the listing leaves that path (rows were
/// lost, GHL refuses the page size) are the pages read ahead discarded.
struct ReadAhead<'a> {
    worker: &'a RunWorker,
    run: &'a Run,
    deadline: Instant,
    pages: VecDeque<Listing>,
    slots: Arc<SlotOrder>,
    answers: FuturesOrdered<BoxFuture<'a, Result<OrderPage, NoPage>>>,
}

impl<'a> ReadAhead<'a> {
    fn new(worker: &'a RunWorker, run: &'a Run, deadline: Instant) -> Self {
        let (pages, answers) = (VecDeque::new(), FuturesOrdered::new());
        Self { worker, run, deadline, pages, slots: Arc::default(), answers }
    }

    /// Makes `listing` the next page to read, and reads ahead as far as `total` rows reach (0: not known yet).
    fn aim(&mut self, listing: &Listing, total: u64) {
        if !self.pages.front().is_some_and(|first| first.is_same_page(listing)) {
            self.pages.clear();
            self.answers = FuturesOrdered::new();
        }
        while self.pages.len() < PAGES_AHEAD {
            let next = match self.pages.back() {
                None => listing.clone(),
                Some(last) => last.after_full_page(),
            };
            if !self.pages.is_empty() && next.offset >= total {
                break;
            }
            let (worker, run, deadline) = (self.worker, self.run, self.deadline);
            let (page, slots) = (next.clone(), self.slots.clone());
            self.answers.push_back(async move { worker.page(run, &page, deadline, &slots).await }.boxed());
            self.pages.push_back(next);
        }
    }

    /// The page that [`Self::aim`] was called for. The other pages are read meanwhile.
    async fn next(&mut self) -> Result<OrderPage, NoPage> {
        self.pages.pop_front();
        self.answers.next().await.unwrap_or(Err(NoPage::Later))
    }
}

impl RunWorker {
    /// Lists until everything is listed or `deadline` has passed. `false` if the run has ended meanwhile.
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
        // Phase and total of this pulse's last page, and the answer for the next page if it was read while that one was recorded.
        let (mut last, mut answered_early) = (None, None);
        loop {
            let answer = match answered_early.take() {
                Some(answer) => answer,
                None => {
                    ahead.aim(&listing, total_of(last, &listing));
                    ahead.next().await
                }
            };
            let page = match answer {
                Ok(page) => page,
                Err(NoPage::Later) => {
                    // Recorded once more without rows, so that the next pulse continues after the last page.
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
                    self.end(run, error.code(), &error.reason(&what)).await?;
                    return Ok(false);
                }
            };
            last = Some((listing.phase, page.total));
            let ids: Vec<_> = page.orders.iter().map(|order| order.id.to_string()).collect();
            let listed = Page { ids: &ids, total: page.total };
            let found = std::mem::take(&mut issues);
            if listing.is_full(listed) {
                // What follows a full page doesn't depend on the database's counts, so it is read while this page is recorded.
                let (next, noticed) = listing.after(listed, 0);
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
                (listing, issues, answered_early) = (next, noticed, Some(answer));
                continue;
            }
            let recorded = self.record(run, &listing, &page, found).await?;
            if recorded.state != RunState::Syncing {
                return Ok(false);
            }
            (listing, issues) = listing.after(listed, recorded.listed);
            if listing.is_done() {
                let none = OrderPage { orders: Vec::new(), unreadable: 0, total: page.total };
                let recorded = self.record(run, &listing, &none, issues).await?;
                return Ok(recorded.state == RunState::Syncing);
            }
            self.dispatch(run).await?;
        }
    }

    /// Records a page and where the listing stands, so that a later pulse can continue if this one dies.
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

    /// Reads one page, and retries until it is there, is refused, or has failed as often as is allowed.
    async fn page(
        &self,
        run: &Run,
        listing: &Listing,
        deadline: Instant,
        slots: &SlotOrder,
    ) -> Result<OrderPage, NoPage> {
        let filter = (listing.phase == Phase::Refunds).then_some("refunded");
        let mut attempt = 1;
        loop {
            // Read first, so that the slot doesn't wait for it.
            let token = self.fetcher.token().get().await.map_err(|error| NoPage::Failed(FetchError::Token(error)))?;
            let error = match self.slot_in_order(run, deadline, slots).await {
                Ok(None) => return Err(NoPage::Later),
                Err(error) => error,
                Ok(Some(_)) => {
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

    /// A slot for a page, after the pages before it have theirs. `None` if none was free in time or the run has ended.
    async fn slot_in_order(
        &self,
        run: &Run,
        deadline: Instant,
        slots: &SlotOrder,
    ) -> Result<Option<Timestamp>, FetchError> {
        let mut closed = slots.closed.lock().await;
        if *closed {
            return Ok(None);
        }
        let slot = self.fetcher.one_slot(&self.database, Lane::Bulk, Some(&run.run_id), deadline).await?;
        *closed = slot.is_none();
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
                    self.end(run, error.code(), &error.reason("Listing products failed")).await?;
                    return Ok(false);
                }
                Err(NoPage::Later | NoPage::TooLarge) => return Ok(false),
            }
        }
    }

    /// Waits before the next attempt, or returns why there is none.
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
        tracing::warn!(
            attempt,
            error = telemetry::chain(&error),
            "A list could not be read from GHL; it will be retried"
        );
        *attempt += 1;
        tokio::time::sleep(
            wait.min(deadline.saturating_duration_since(Instant::now()).max(Duration::from_millis(100))),
        )
        .await;
        Ok(())
    }
}

/// How many rows GHL counts in the current phase; 0 before its first page.
fn total_of(last: Option<(Phase, u64)>, listing: &Listing) -> u64 {
    last.filter(|(phase, _)| *phase == listing.phase).map_or(0, |(_, total)| total)
}

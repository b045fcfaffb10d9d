//! Listing: page after page within the rate limit. The pages that are there are recorded together, and dispatched, while the next
//! ones are read.

use std::collections::VecDeque;
use std::pin::pin;
use std::sync::Arc;
use std::time::{Duration, Instant};

use database::{Lane, PageOrder, PageRecord, RecordedPage};
use domain::listing::{Closed, Completed, Listing, Page, Phase, Step};
use domain::{FailureClass, Issue, Run, RunKind, RunState, failure};
use futures::StreamExt;
use futures::future::{BoxFuture, FutureExt, join};
use futures::stream::FuturesOrdered;
use ghl::OrderPage;
use orders::{Demand, FetchError, OneSlot, SlotOrder};
use secrecy::SecretString;

use crate::listed::{Listed, NoPage};
use crate::refunds::Transactions;
use crate::worker::RunWorker;

/// Pages that are read at the same time: as many as the limit allows a run at once. Twice as many in an incremental run, which has
/// little else to do.
const PAGES_AHEAD: usize = 33;

/// Pages that are recorded by one call, so that a call stays short.
const PAGES_PER_CALL: u32 = 10;

/// How long a page waits for its slot here. Longer waits are those of the next pulse, whose message costs nothing.
const PATIENCE: Duration = Duration::from_millis(1_500);

/// Reads the pages that follow, as long as GHL counts rows there. The answers are handled in the listing's order, so every decision
/// is the same as if the pages were read one after the other. Only when the listing leaves that path (a page is shorter than the
/// longest, rows were lost, GHL refuses the page size) are the pages read ahead discarded.
struct ReadAhead<'a> {
    worker: &'a RunWorker,
    run: &'a Run,
    deadline: Instant,
    /// The pages under way and those that are there, in order.
    pages: VecDeque<Listing>,
    slots: Arc<SlotOrder>,
    answers: FuturesOrdered<BoxFuture<'a, Result<OrderPage, NoPage>>>,
    /// The answers for the first of `pages`.
    there: VecDeque<Result<OrderPage, NoPage>>,
}

impl<'a> ReadAhead<'a> {
    fn new(worker: &'a RunWorker, run: &'a Run, deadline: Instant) -> Self {
        let (pages, answers, there) = (VecDeque::new(), FuturesOrdered::new(), VecDeque::new());
        Self { worker, run, deadline, pages, slots: Arc::default(), answers, there }
    }

    /// Makes `listing` the next page to read, and reads ahead as far as GHL's count reaches.
    fn aim(&mut self, listing: &Listing) {
        if !self.pages.front().is_some_and(|first| first.is_same_page(listing)) {
            self.pages.clear();
            self.there.clear();
            self.answers = FuturesOrdered::new();
        } else if let Some(first) = self.pages.front_mut() {
            // What is known by now: how long pages are, and GHL's count.
            *first = listing.clone();
        }
        let at_once = if self.run.kind == RunKind::Incremental { 2 * PAGES_AHEAD } else { PAGES_AHEAD };
        while self.pages.len() < at_once {
            let next = match self.pages.back() {
                None => Some(listing.clone()),
                Some(last) => last.ahead(),
            };
            let Some(next) = next else { break };
            let (worker, run, deadline) = (self.worker, self.run, self.deadline);
            let (page, slots) = (next.clone(), self.slots.clone());
            self.answers.push_back(async move { worker.page(run, &page, deadline, &slots).await }.boxed());
            self.pages.push_back(next);
        }
    }

    /// The page that [`Self::aim`] was called for. The other pages are read meanwhile.
    async fn next(&mut self) -> Result<OrderPage, NoPage> {
        self.pages.pop_front();
        match self.there.pop_front() {
            Some(answer) => answer,
            None => self.answers.next().await.unwrap_or(Err(NoPage::Later(Duration::ZERO))),
        }
    }

    /// The same if it is there already.
    fn next_now(&mut self) -> Option<Result<OrderPage, NoPage>> {
        let answer = self.there.pop_front().or_else(|| self.answers.next().now_or_never().flatten())?;
        self.pages.pop_front();
        Some(answer)
    }

    /// Does `work`, and reads on meanwhile.
    async fn during<T>(&mut self, work: impl Future<Output = T>) -> T {
        let mut work = pin!(work);
        loop {
            tokio::select! {
                biased;
                done = &mut work => return done,
                Some(answer) = self.answers.next() => self.there.push_back(answer),
            }
        }
    }
}

/// Pages of one phase that were read and are recorded together, and what follows them.
struct Batch {
    orders: Vec<PageOrder>,
    issues: Vec<Issue>,
    phase: Phase,
    total: u64,
    pages: u32,
}

impl Batch {
    fn new(phase: Phase) -> Self {
        Self { orders: Vec::new(), issues: Vec::new(), phase, total: 0, pages: 0 }
    }

    fn add(&mut self, page: OrderPage, at: &Listing, ours: &str) {
        if page.unreadable > 0 {
            let message = format!(
                "{} rows of the page from row {} have no usable _id and were left out.",
                page.unreadable, at.offset
            );
            self.issues.push(Issue::new("row_unreadable", message));
        }
        self.orders.extend(page.orders.into_iter().map(|order| PageOrder {
            order_id: order.id,
            source_updated_at: order.updated_at,
            foreign: order.location_id.is_some_and(|location| location != ours),
            status: order.status,
            payment_status: order.payment_status,
            amount: order.amount,
        }));
        (self.total, self.pages) = (page.total, self.pages + 1);
    }
}

impl RunWorker {
    /// Lists until everything is listed or `deadline` has passed.
    pub(crate) async fn list(&self, run: &Run, deadline: Instant) -> Result<Listed, lambda_runtime::Error> {
        if run.kind == RunKind::Retry {
            return self.take_rest(run, deadline).await;
        }
        let sweep = matches!(run.kind, RunKind::Incremental);
        let mut ahead = ReadAhead::new(self, run, deadline);
        let mut issues = Vec::new();
        let mut transactions = Transactions::of(run);
        let mut first_transactions = None;
        let mut listing = match &run.listing {
            Some(listing) => listing.clone(),
            None => {
                // The first pages are read meanwhile.
                let listing = Listing::start(sweep, run.known_deficit);
                ahead.aim(&listing);
                if run.transactions.is_none() {
                    // Transactions are recorded after the products: by them a later pulse knows that the products were read.
                    let products = self.read_products(run, deadline, &mut issues);
                    let both = join(products, self.first_transactions(run, &transactions, deadline));
                    let (products, first) = ahead.during(both).await;
                    first_transactions = first;
                    match products? {
                        Listed::Complete => {}
                        not_yet => return Ok(not_yet),
                    }
                }
                listing
            }
        };
        if transactions.come_first(run) {
            let reading = self.read_transactions(run, &mut transactions, first_transactions, &mut issues, deadline);
            match ahead.during(reading).await? {
                Listed::Complete => {}
                not_yet => return Ok(not_yet),
            }
        }
        loop {
            ahead.aim(&listing);
            let mut answer = Some(ahead.next().await);
            let mut batch = Batch::new(listing.phase);
            batch.issues.append(&mut issues);
            // Where the pass is over, the last page is read again should this invocation end before that is recorded.
            let (mut over, mut no_page) = (None, None);
            while let Some(answered) = answer.take() {
                let page = match answered {
                    Ok(page) => page,
                    Err(why) => {
                        no_page = Some(why);
                        break;
                    }
                };
                let ids: Vec<_> = page.orders.iter().map(|order| order.id.to_string()).collect();
                let rows = (page.orders.len() + page.unreadable) as u64;
                let (step, issues) = listing.after(Page { ids: &ids, rows, total: page.total });
                batch.add(page, &listing, self.database.location_id().as_str());
                batch.issues.extend(issues);
                match step {
                    Step::PassOver(pass) => over = Some(pass),
                    Step::Read(next) => {
                        let same_phase = next.phase == listing.phase;
                        listing = next;
                        ahead.aim(&listing);
                        if same_phase && batch.pages < PAGES_PER_CALL {
                            answer = ahead.next_now();
                        }
                    }
                }
            }
            if batch.pages > 0 {
                let recording = async {
                    let recorded = self.record(run, &listing, None, batch).await?;
                    if let Some(dispatched) = recorded.dispatch {
                        self.hand_over(run, dispatched).await?;
                    }
                    Ok::<_, lambda_runtime::Error>(recorded.run)
                };
                let recorded = ahead.during(recording).await?;
                if recorded.state != RunState::Syncing {
                    return Ok(Listed::RunOver);
                }
                if let Some(pass) = over {
                    match self.read_transactions(run, &mut transactions, None, &mut issues, deadline).await? {
                        Listed::Complete => {}
                        not_yet => return Ok(not_yet),
                    }
                    match self.close_pass(run, &pass, recorded.listed).await? {
                        Some(again) => listing = again,
                        None => return Ok(Listed::Complete),
                    }
                }
            }
            match no_page {
                None => {}
                Some(NoPage::Later(wait)) => return Ok(Listed::Later(wait)),
                Some(NoPage::RunOver) => return Ok(Listed::RunOver),
                Some(NoPage::TooLarge) => match listing.with_small_pages() {
                    Some(smaller) => listing = smaller,
                    None => {
                        self.end(run, "ghl_refused", "Listing orders failed: GoHighLevel refuses pages of 50 orders")
                            .await?;
                        return Ok(Listed::RunOver);
                    }
                },
                Some(NoPage::Failed(error)) => {
                    let what = format!("Listing orders failed at the page from row {}", listing.offset);
                    self.end(run, error.code(), &error.reason(&what)).await?;
                    return Ok(Listed::RunOver);
                }
            }
        }
    }

    /// Records that a pass is over: what is listed next, or nothing if the listing is complete.
    async fn close_pass(
        &self,
        run: &Run,
        pass: &Listing,
        listed: u64,
    ) -> Result<Option<Listing>, lambda_runtime::Error> {
        let mut none = Batch::new(Phase::Orders);
        none.total = pass.total();
        match pass.close_pass(listed) {
            Closed::Again(again) => {
                self.record(run, &again, None, none).await?;
                Ok(Some(again))
            }
            Closed::Complete(completed) => {
                if completed.short {
                    tracing::warn!(run_id = %run.run_id, listed, total = pass.total(), "The listing is short: nothing is concluded from it");
                }
                none.issues.clone_from(&completed.issues);
                self.record(run, &completed.listing, Some(&completed), none).await?;
                Ok(None)
            }
        }
    }

    /// Records pages and where the listing stands after them, so that a later pulse can continue if this one dies, and dispatches in the
    /// same call.
    async fn record(
        &self,
        run: &Run,
        listing: &Listing,
        completed: Option<&Completed>,
        batch: Batch,
    ) -> Result<RecordedPage, lambda_runtime::Error> {
        let sweep = batch.phase == Phase::Refunds;
        let total_count = (!sweep).then_some(batch.total);
        // At the end of a pass there is nothing new to dispatch.
        let dispatch = (batch.pages > 0).then(|| self.dispatch_limits());
        let Batch { orders, issues, .. } = batch;
        let record =
            PageRecord { run_id: &run.run_id, listing, completed, total_count, sweep, orders, issues, dispatch };
        let recorded = self.database.record_page(record).await?;
        self.announcements.ask(&self.database, recorded.publication_due).await;
        Ok(recorded)
    }

    /// Takes the orders that a retry repeats, portion by portion, until all are taken or `deadline` has passed.
    async fn take_rest(&self, run: &Run, deadline: Instant) -> Result<Listed, lambda_runtime::Error> {
        loop {
            let taken = self.database.take_rest(&run.run_id).await?;
            self.announcements.ask(&self.database, taken.publication_due).await;
            if taken.run.state != RunState::Syncing {
                return Ok(Listed::RunOver);
            }
            if taken.run.listing_complete {
                return Ok(Listed::Complete);
            }
            self.dispatch(run).await?;
            if Instant::now() >= deadline {
                return Ok(Listed::Later(Duration::ZERO));
            }
        }
    }

    /// Reads one page of the listing.
    async fn page(
        &self,
        run: &Run,
        listing: &Listing,
        deadline: Instant,
        slots: &SlotOrder,
    ) -> Result<OrderPage, NoPage> {
        let filter = (listing.phase == Phase::Refunds).then_some("refunded");
        // What an incremental run will have to fetch, nobody knows yet: nearly nothing, mostly.
        let orders = if run.kind == RunKind::Full { listing.total().max(run.listed) } else { 0 };
        let (client, offset, rows) = (self.fetcher.client(), listing.offset, listing.page_size);
        let read = |token: SecretString| async move { client.list_orders(&token, offset, rows, filter).await };
        self.read_page(run, listing.pages_left() + orders, deadline, slots, read).await
    }

    /// Reads one page of a list of GHL's, and retries until it is there, is refused, or has failed as often as is allowed. `remaining` are
    /// the calls that the run has still to make.
    pub(crate) async fn read_page<T, F: Future<Output = Result<T, ghl_client::Error>>>(
        &self,
        run: &Run,
        remaining: u64,
        deadline: Instant,
        slots: &SlotOrder,
        read: impl Fn(SecretString) -> F,
    ) -> Result<T, NoPage> {
        let mut attempt = 1;
        loop {
            // Read first, so that the slot doesn't wait for it.
            let token = self.fetcher.token().get().await.map_err(|error| NoPage::Failed(FetchError::Token(error)))?;
            let error = match self.slot_in_order(run, remaining, deadline, slots).await {
                Ok(OneSlot::Later(wait)) => return Err(NoPage::Later(wait)),
                Ok(OneSlot::RunOver) => return Err(NoPage::RunOver),
                Err(error) => error,
                Ok(OneSlot::At(_)) => match read(token).await {
                    Ok(page) => return Ok(page),
                    Err(error) if error.is_refused_parameter() => return Err(NoPage::TooLarge),
                    Err(error) => FetchError::Ghl(error),
                },
            };
            self.back_off(error, &mut attempt, deadline).await?;
        }
    }

    /// A slot for a page, after the pages before it have theirs. `remaining` are the calls that the run has still to make.
    async fn slot_in_order(
        &self,
        run: &Run,
        remaining: u64,
        deadline: Instant,
        slots: &SlotOrder,
    ) -> Result<OneSlot, FetchError> {
        let demand = Demand { remaining: Some(remaining), ..Demand::new(Lane::Bulk, Some(&run.run_id)) };
        let deadline = deadline.min(Instant::now() + PATIENCE + self.fetcher.usual_round_trip());
        self.fetcher.slot_in_order(&self.database, demand, deadline, slots).await
    }

    /// Reads the product list at the start of a run; without any product, no order could be valid.
    async fn read_products(
        &self,
        run: &Run,
        deadline: Instant,
        issues: &mut Vec<Issue>,
    ) -> Result<Listed, lambda_runtime::Error> {
        let mut attempt = 1;
        loop {
            let error =
                match orders::products::refresh(&self.database, &self.fetcher, Lane::Bulk, Some(&run.run_id), deadline)
                    .await
                {
                    Ok(products) if products.ids.is_empty() => {
                        self.end(
                            run,
                            "no_valid_products",
                            "No valid products found: GoHighLevel's product list is empty",
                        )
                        .await?;
                        return Ok(Listed::RunOver);
                    }
                    Ok(products) => {
                        issues.extend(products.issue);
                        return Ok(Listed::Complete);
                    }
                    Err(error) => error,
                };
            match self.back_off(error, &mut attempt, deadline).await {
                Ok(()) => {}
                Err(NoPage::Failed(error)) => {
                    self.end(run, error.code(), &error.reason("Listing products failed")).await?;
                    return Ok(Listed::RunOver);
                }
                Err(NoPage::Later(wait)) => return Ok(Listed::Later(wait)),
                Err(NoPage::RunOver | NoPage::TooLarge) => return Ok(Listed::RunOver),
            }
        }
    }

    /// Waits before the next attempt, or returns why there is none.
    async fn back_off(&self, error: FetchError, attempt: &mut u32, deadline: Instant) -> Result<(), NoPage> {
        if matches!(error, FetchError::NoSlot) {
            return Err(NoPage::Later(Duration::ZERO));
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

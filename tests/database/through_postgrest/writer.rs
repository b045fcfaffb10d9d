//! What the functions do with the database, call by call, without the queues between them.

use std::sync::Arc;
use std::time::Duration;

use database::{
    Ask, Database, DispatchLimits, DueOrder, Error, Failure, Lane, Limits, NewRun, Notice, Observed, OrderUpsert,
    PageOrder, PageRecord, Published, RunSettings, ToReconcile,
};
use domain::listing::{Closed, Listing, Page, Step};
use domain::outcome::UpsertResult;
use domain::{Cause, Change, FailureClass, OrderId, Run, RunKind, RunState};
use jiff::Timestamp;
use rand::rngs::StdRng;
use rand::{RngExt, seq::IndexedRandom};
use uuid::Uuid;

use super::evening::Evening;

/// So wide that it rarely makes anybody wait: the limiter has tests of its own, here its lock counts.
const LIMITS: Limits = Limits { max: 1000, window_ms: 400, margin_ms: 100, daily_reserve: 0 };
/// Short, so that many runs follow each other.
const RUN: RunSettings = RunSettings {
    cooldown: Duration::from_millis(20),
    lease: Duration::from_secs(60),
    publish_interval: Duration::from_millis(5),
};
/// About as long as a fetch and an upsert take here.
const CLAIM: Duration = Duration::from_millis(50);
/// Dispatched orders under way at once.
const OUTSTANDING: u32 = 6;
/// So short that often two workers have the same order of the same run.
const RESEND_AFTER: Duration = Duration::from_millis(20);
const DISPATCH: DispatchLimits = DispatchLimits {
    max_outstanding: OUTSTANDING,
    resend_after: RESEND_AFTER,
    ahead: Duration::from_millis(10),
    limits: LIMITS,
};

/// A function's instance, or several in a row.
pub(crate) struct Writer {
    pub(crate) database: Database,
    pub(crate) evening: Arc<Evening>,
    pub(crate) random: StdRng,
}

impl Writer {
    /// Order-worker on a webhook's messages, then tickets.
    pub(crate) async fn webhook(&mut self) -> Result<(), Error> {
        let mut notices = Vec::new();
        for order_id in self.evening.some_orders(&mut self.random) {
            let (sent_at, first_try) = (Timestamp::now(), self.random.random());
            notices.push(Notice { order_id, sent_at, received_at: None, first_try });
        }
        let plan = self.database.plan_orders(&notices, CLAIM).await?;
        let owed = notices.into_iter().map(|notice| notice.order_id);
        let owed = owed.filter(|id| !plan.served.contains(id) && !plan.busy.contains(id)).collect();
        self.sync(Lane::Priority, owed, None).await
    }

    /// Order-sync: one order, in process.
    pub(crate) async fn single(&mut self) -> Result<(), Error> {
        let mut one = self.evening.orders(&mut self.random);
        one.truncate(1);
        self.sync(Lane::Priority, one, None).await
    }

    /// Tickets on a batch of messages: some of the current run, some late ones, some of none.
    pub(crate) async fn tickets(&mut self) -> Result<(), Error> {
        let run_id = self.evening.hear(|heard| heard.run_id.clone());
        let mut handed = Vec::new();
        for order_id in self.evening.some_orders(&mut self.random) {
            let run_id = run_id.clone().filter(|_| self.random.random_ratio(1, 4));
            handed.push(ToReconcile { order_id, run_id, change: Change::Unchanged, attempts: 1 });
        }
        self.reconcile(handed).await
    }

    /// What couldn't be fetched, recorded in whatever order it failed.
    pub(crate) async fn failures(&mut self) -> Result<(), Error> {
        let run_id = self.evening.hear(|heard| heard.run_id.clone());
        let mut failures = Vec::new();
        for order_id in self.evening.some_orders(&mut self.random) {
            failures.push(Failure {
                order_id,
                run_id: run_id.clone().filter(|_| self.random.random_ratio(1, 10)),
                cause: Cause::Webhook,
                class: FailureClass::Transient,
                code: "ghl_unavailable",
                reason: "GoHighLevel answered 500".to_owned(),
                attempts: 5,
            });
        }
        let recorded = self.database.record_failures(&failures).await?;
        self.publish(recorded.publication_due).await
    }

    /// A pulse of the current run with all that follows from it, or the start of the next run.
    pub(crate) async fn pulse(&mut self) -> Result<(), Error> {
        let snapshot = self.database.sync_snapshot(false, Duration::from_secs(30)).await?;
        let Some(run) = snapshot.run.filter(|run| run.state == RunState::Syncing) else { return self.start().await };
        let begun = self.database.begin_pulse(&run.run_id, snapshot.pulse.unwrap(), Duration::ZERO, None).await?;
        self.publish(begun.publication_due).await?;
        let Some(run) = begun.run.filter(|run| begun.accepted && run.state == RunState::Syncing) else { return Ok(()) };
        if !run.listing_complete {
            self.list(&run).await?;
        }
        let dispatch = self.database.dispatch_orders(&run.run_id, &DISPATCH).await?;
        for batch in dispatch.order_ids.chunks(3) {
            // One batch in six is lost with the worker that had it.
            if self.random.random_ratio(5, 6) {
                self.sync(Lane::Bulk, batch.to_vec(), Some(&run)).await?;
            }
        }
        let due = self.database.due_orders(Duration::ZERO, 5).await?;
        self.reconcile(due.into_iter().map(handed_over).collect()).await
    }

    /// The schedules' watch, an admin who cancels a run, and a dashboard that connects.
    pub(crate) async fn watch(&mut self) -> Result<(), Error> {
        match self.random.random_range(0..40) {
            0 => {
                let cancelled = self.database.cancel_run("admin@example.test").await?;
                self.publish(cancelled.publication_due).await
            }
            1..5 => self.database.purge(1000).await,
            5..10 => {
                let products = ["p1", "p2", "p3"].map(|id| (id.to_owned(), Some("Spring Gala".to_owned()), None));
                self.database.replace_products(&products, true).await.map(drop)
            }
            _ => {
                let snapshot = self.database.sync_snapshot(true, Duration::from_secs(30)).await?;
                self.evening.hear(|heard| heard.numbers.push(snapshot.seq));
                Ok(())
            }
        }
    }

    async fn start(&mut self) -> Result<(), Error> {
        let kinds = [RunKind::Full, RunKind::Full, RunKind::Incremental, RunKind::Retry, RunKind::ValidList];
        let kind = *kinds.choose(&mut self.random).unwrap();
        let order_ids = (kind == RunKind::Retry).then(|| self.evening.some_orders(&mut self.random));
        let requested_by = "admin@example.test".to_owned();
        let new = NewRun { order_ids, ..NewRun::of(kind, requested_by) };
        let started = self.database.start_run(&new, RUN).await?;
        self.publish(started.publication_due).await?;
        self.evening.hear(|heard| heard.run_id = started.run.map(|run| run.run_id));
        Ok(())
    }

    /// A page of the listing, which may be the last one; an incremental run sweeps for refunds before.
    async fn list(&mut self, run: &Run) -> Result<(), Error> {
        let ids = self.evening.some_orders(&mut self.random);
        let sweep = run.kind == RunKind::Incremental && run.listing.is_none();
        let mut listing = Listing::start(sweep, 0);
        let mut completed = None;
        if !sweep && self.random.random_ratio(2, 3) {
            let mut page: Vec<_> = ids.iter().map(ToString::to_string).collect();
            // Behind it comes nothing.
            while let Step::Read(next) = listing.after(Page { ids: &page, rows: page.len() as u64, total: 0 }).0 {
                listing = next;
                page.clear();
            }
            if let Closed::Complete(done) = listing.close_pass(page.len() as u64) {
                listing.clone_from(&done.listing);
                completed = Some(done);
            }
        }
        let mut orders = Vec::new();
        for order_id in ids {
            let source_updated_at = self.evening.read(&order_id, &mut self.random).source_updated_at;
            orders.push(PageOrder { source_updated_at, ..listed(order_id, false) });
        }
        let elsewhere = OrderId::try_new("order-of-another-location").unwrap();
        orders.push(listed(elsewhere, true));
        let total_count = Some(orders.len() as u64);
        let (run_id, listing, completed, issues) = (&run.run_id, &listing, completed.as_ref(), Vec::new());
        let page = PageRecord { run_id, listing, completed, total_count, sweep, orders, issues, dispatch: None };
        let recorded = self.database.record_page(page).await?;
        self.publish(recorded.publication_due).await
    }

    /// The way of orders from the limiter to their tickets.
    async fn sync(&mut self, lane: Lane, mut ids: Vec<OrderId>, run: Option<&Run>) -> Result<(), Error> {
        let run_id = run.map(|run| &run.run_id);
        let id = Uuid::from_u128(self.random.random());
        let (wanted, observed, dispatched_at) = (ids.len(), Observed::default(), None);
        let ask =
            Ask { id, lane, wanted, remaining: None, run_id, limits: LIMITS, observed, late: None, dispatched_at };
        let slots = self.database.acquire_slots(&ask).await?;
        ids.truncate(slots.granted as usize);
        let read = ids.iter().map(|id| OrderUpsert {
            run_id: run_id.cloned(),
            fetched_at: slots.granted_at,
            remember_only: run.is_some_and(|run| run.kind == RunKind::ValidList),
            ..self.evening.read(id, &mut self.random)
        });
        let read: Vec<_> = read.collect();
        if read.is_empty() {
            return Ok(());
        }
        let handed = self.upsert(&read).await?;
        // One hand-over in ten is lost: the order stays due.
        if self.random.random_ratio(1, 10) { Ok(()) } else { self.reconcile(handed).await }
    }

    async fn upsert(&mut self, orders: &[OrderUpsert]) -> Result<Vec<ToReconcile>, Error> {
        let upserts = self.database.upsert_orders(orders).await?;
        let mut handed = Vec::new();
        for order in orders.iter().filter(|order| !order.remember_only) {
            let result = upserts.orders.iter().find(|upserted| upserted.order_id == order.order_id).unwrap().result;
            let UpsertResult::Stored(change) = result else { continue };
            handed.push(ToReconcile {
                order_id: order.order_id.clone(),
                run_id: order.run_id.clone(),
                change,
                attempts: 1,
            });
            self.evening.hear(|heard| {
                let newest = heard.newest.entry(order.order_id.to_string()).or_default();
                *newest = order.source_updated_at.unwrap().max(*newest);
                *heard.upserts.entry(change).or_default() += 1;
            });
        }
        self.publish(upserts.publication_due).await?;
        Ok(handed)
    }

    async fn reconcile(&mut self, orders: Vec<ToReconcile>) -> Result<(), Error> {
        if orders.is_empty() {
            return Ok(());
        }
        let recorded = self.database.reconcile_tickets(&orders).await?;
        self.publish(recorded.publication_due).await
    }

    async fn publish(&mut self, due: bool) -> Result<(), Error> {
        if !due {
            return Ok(());
        }
        let mut begun = self.database.begin_publication().await?;
        while let Some(publication) = begun.publication {
            let first = publication.seq_first;
            self.evening.hear(|heard| heard.numbers.extend(first..first + domain::frames::FRAMES_PER_PUBLICATION));
            let (run, seq) = (&publication.run, publication.announce().seq);
            let published = Published { run_id: &run.run_id, seq, state: run.state, reached: None };
            begun = self.database.confirm_and_begin(&published).await?;
        }
        Ok(())
    }
}

/// A row of the list that shows nothing of the order but its id.
fn listed(order_id: OrderId, foreign: bool) -> PageOrder {
    PageOrder { order_id, source_updated_at: None, foreign, status: None, payment_status: None, amount: None }
}

/// A due order as a pulse hands it over.
pub(crate) fn handed_over(due: DueOrder) -> ToReconcile {
    ToReconcile { order_id: due.order_id, run_id: due.run_id, change: Change::Written, attempts: 1 }
}

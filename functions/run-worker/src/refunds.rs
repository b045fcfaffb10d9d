//! Transactions: they tell of refunds that move no date of their order. An incremental run reads them before it lists, so that the
//! listing fetches what they tell of; a full run afterwards, while the orders are fetched, all of which are anyway. They must not keep a
//! run from its orders, so what can't be read of them is an issue of the run.

use std::sync::Arc;
use std::time::{Duration, Instant};

use database::RefundRecord;
use domain::refunds::{Reading, Refund, Transaction};
use domain::{FailureClass, Issue, OrderId, Run, RunKind, RunState};
use futures::StreamExt;
use futures::future::join_all;
use futures::stream;
use ghl::TransactionPage;
use ghl_client::TransactionsOf;
use orders::{FetchError, SlotOrder};
use secrecy::SecretString;

use crate::listed::{Listed, NoPage};
use crate::worker::RunWorker;

/// Pages, and orders' transactions, that are read at the same time.
const AT_ONCE: usize = 8;
/// Rows per page of one order's transactions.
const OWN_PAGE_SIZE: u32 = 100;

/// Where reading a run's transactions stands, if it reads any.
pub(crate) struct Transactions(Option<Reading>);

impl Transactions {
    /// As kept in the run's row.
    pub(crate) fn of(run: &Run) -> Self {
        // An incremental run that was listing when this was deployed reads none.
        let is_too_late = run.kind == RunKind::Incremental && run.listing.is_some();
        let start = || if is_too_late { None } else { Reading::start(run.kind, run.now) };
        Self(run.transactions.clone().or_else(start))
    }

    /// Whether they are read before the listing begins, or goes on: those of a full run once they were begun.
    pub(crate) fn come_first(&self, run: &Run) -> bool {
        self.0.is_some() && (run.kind == RunKind::Incremental || run.transactions.is_some())
    }
}

/// Pages of transactions by the row that they begin at, as far as they could be read.
type Pages = Vec<(u64, Result<TransactionPage, NoPage>)>;

impl RunWorker {
    /// Reads the first pages of transactions that are to be read before the listing.
    pub(crate) async fn first_transactions(
        &self,
        run: &Run,
        transactions: &Transactions,
        deadline: Instant,
    ) -> Option<Pages> {
        let reading = transactions.0.as_ref().filter(|reading| !reading.done && transactions.come_first(run))?;
        Some(self.transactions_pages(run, reading, deadline).await)
    }

    /// Reads the pages that are next, those that can be at the same time.
    async fn transactions_pages(&self, run: &Run, reading: &Reading, deadline: Instant) -> Pages {
        let slots = Arc::new(SlotOrder::default());
        let pages = reading.pages(AT_ONCE).into_iter().map(|at| {
            let slots = Arc::clone(&slots);
            async move { (at.offset, self.transactions_page(run, &at, deadline, &slots).await) }
        });
        join_all(pages).await
    }

    /// Reads what is left of the transactions, and takes note of what was refunded. `first` are the next pages if they are there already,
    /// `issues` are recorded with it.
    pub(crate) async fn read_transactions(
        &self,
        run: &Run,
        transactions: &mut Transactions,
        mut first: Option<Pages>,
        issues: &mut Vec<Issue>,
        deadline: Instant,
    ) -> Result<Listed, lambda_runtime::Error> {
        let Some(reading) = &mut transactions.0 else { return Ok(Listed::Complete) };
        while !reading.done {
            let pages = match first.take() {
                Some(pages) => pages,
                None => self.transactions_pages(run, reading, deadline).await,
            };
            let (mut rows, mut no_page) = (Vec::new(), None);
            for (offset, page) in pages {
                // The page before was shorter than those before it.
                if reading.done || offset != reading.offset {
                    break;
                }
                match page {
                    Ok(page) => {
                        *reading = reading.after(page.rows, page.first.as_deref(), page.total);
                        rows.extend(page.transactions);
                    }
                    Err(why) => {
                        no_page = Some(why);
                        break;
                    }
                }
            }
            let mut later = None;
            match no_page {
                None => {}
                Some(NoPage::Later(wait)) => later = Some(wait),
                Some(NoPage::TooLarge) => match reading.with_small_pages() {
                    Some(smaller) => *reading = smaller,
                    None => {
                        issues.push(unreadable("GoHighLevel refuses pages of 50"));
                        *reading = reading.given_up();
                    }
                },
                Some(NoPage::Failed(FetchError::Ghl(error))) => {
                    tracing::warn!(run_id = %run.run_id, error = telemetry::chain(&error), "Transactions could not be read from GHL");
                    issues.push(not_read(&error));
                    *reading = reading.given_up();
                }
                Some(NoPage::Failed(error)) => {
                    self.end(run, error.code(), &error.reason("Reading transactions failed")).await?;
                    return Ok(Listed::RunOver);
                }
                Some(NoPage::RunOver) => return Ok(Listed::RunOver),
            }
            if let Some(wait) = later
                && rows.is_empty()
                && issues.is_empty()
            {
                return Ok(Listed::Later(wait));
            }
            let (refunds, all_read) = self.refunds(run, &rows, deadline).await?;
            // Pages of which not all was taken are read again: what was taken of them is no change then.
            let next = matches!(all_read, Listed::Complete).then_some(&*reading);
            let issues = std::mem::take(issues);
            let record = RefundRecord { run_id: &run.run_id, transactions: next, refunds, issues };
            let recorded = self.database.record_refunds(record).await?;
            self.announcements.ask(&self.database, recorded.publication_due).await;
            if recorded.run.state != RunState::Syncing {
                return Ok(Listed::RunOver);
            }
            if !matches!(all_read, Listed::Complete) {
                return Ok(all_read);
            }
            if let Some(wait) = later {
                return Ok(Listed::Later(wait));
            }
            if run.kind == RunKind::Full {
                self.dispatch(run).await?;
            }
            if !reading.done && Instant::now() >= deadline {
                return Ok(Listed::Later(Duration::ZERO));
            }
        }
        Ok(Listed::Complete)
    }

    /// The sums of the orders of which these transactions tell something new, and whether all of them could be read.
    async fn refunds(
        &self,
        run: &Run,
        transactions: &[Transaction],
        deadline: Instant,
    ) -> Result<(Vec<Refund>, Listed), lambda_runtime::Error> {
        if transactions.is_empty() {
            return Ok((Vec::new(), Listed::Complete));
        }
        let changed = self.database.changed_refunds(transactions).await?;
        let read = stream::iter(changed).map(|order_id| async move {
            let own = self.transactions_of(run, &order_id, deadline).await;
            (order_id, own)
        });
        let mut read = read.buffered(AT_ONCE);
        let (mut refunds, mut all_read) = (Vec::new(), Listed::Complete);
        while let Some((order_id, own)) = read.next().await {
            match own {
                Ok(own) => refunds.push(Refund::of(&order_id, &own, transactions)),
                Err(NoPage::Later(wait)) => all_read = Listed::Later(wait),
                Err(NoPage::RunOver) => all_read = Listed::RunOver,
                // The next run that meets it tries again.
                Err(NoPage::TooLarge) => {}
                Err(NoPage::Failed(error)) => {
                    tracing::warn!(run_id = %run.run_id, order_id = %order_id, error = telemetry::chain(&error), "An order's transactions could not be read");
                }
            }
        }
        Ok((refunds, all_read))
    }

    /// All transactions of one order.
    async fn transactions_of(
        &self,
        run: &Run,
        order_id: &OrderId,
        deadline: Instant,
    ) -> Result<Vec<Transaction>, NoPage> {
        let (mut own, mut offset): (Vec<Transaction>, u64) = (Vec::new(), 0);
        loop {
            let (client, of) = (self.fetcher.client(), &TransactionsOf::Order(order_id));
            let read =
                |token: SecretString| async move { client.list_transactions(&token, offset, OWN_PAGE_SIZE, of).await };
            let page = self.read_page(run, 1, deadline, &SlotOrder::default(), read).await?;
            let is_new = page.transactions.iter().any(|row| !own.iter().any(|known| known.id == row.id));
            own.extend(page.transactions);
            offset += page.rows;
            if !is_new || offset == page.total {
                return Ok(own);
            }
        }
    }

    async fn transactions_page(
        &self,
        run: &Run,
        at: &Reading,
        deadline: Instant,
        slots: &SlotOrder,
    ) -> Result<TransactionPage, NoPage> {
        let of = at.from.map_or(TransactionsOf::All, TransactionsOf::Since);
        // There are about as many orders as transactions.
        let orders = if run.kind == RunKind::Full { at.total() } else { 0 };
        let (client, of) = (self.fetcher.client(), &of);
        let read =
            |token: SecretString| async move { client.list_transactions(&token, at.offset, at.page_size, of).await };
        self.read_page(run, at.pages_left() + orders, deadline, slots, read).await
    }
}

/// Why no more transactions are read, for a person.
fn not_read(error: &ghl_client::Error) -> Issue {
    if error.class() == FailureClass::Auth {
        let message = "GoHighLevel refuses to list transactions, so refunds that change nothing else of an order aren't seen. \
                       Give the access token the scope payments/transactions.readonly.";
        return Issue::new("transactions_refused", message);
    }
    unreadable(&error.to_string())
}

fn unreadable(why: &str) -> Issue {
    let message =
        format!("Transactions could not be read ({why}), so refunds may be missed. The next run reads them again.");
    Issue::new("transactions_unreadable", message)
}

#[cfg(test)]
mod tests;

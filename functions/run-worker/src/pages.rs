//! Listing: page after page within the rate limit, each recorded and dispatched while the next is read.

use std::time::{Duration, Instant};

use database::{Lane, PageOrder, PageRecord};
use domain::listing::{Listing, Page, Phase};
use domain::{FailureClass, Issue, Run, RunKind, RunState, failure};
use ghl::OrderPage;
use sync::FetchError;

use crate::pulse::{RunWorker, words};

/// Why a page isn't there.
enum NoPage {
    /// The time is up or the run has ended: the next pulse goes on, if there is one.
    Later,
    /// The page size was refused: ask for smaller pages.
    TooLarge,
    /// It failed for good.
    Failed(FetchError),
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
        // Phase and total of this pulse's last page, and the answer for the next one where it was asked for ahead.
        let (mut last, mut ahead) = (None, None);
        loop {
            let answer = match ahead.take() {
                Some(answer) => answer,
                None => self.page(run, &listing, deadline).await,
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
                let recording = async {
                    let recorded = self.record(run, &listing, &page, found).await?;
                    if recorded.state == RunState::Syncing {
                        self.dispatch(run).await?;
                    }
                    Ok::<_, lambda_runtime::Error>(recorded.state)
                };
                let (state, answer) = tokio::join!(recording, self.page(run, &next, deadline));
                if state? != RunState::Syncing {
                    return Ok(false);
                }
                (listing, issues, ahead) = (next, noticed, Some(answer));
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
    async fn page(&self, run: &Run, listing: &Listing, deadline: Instant) -> Result<OrderPage, NoPage> {
        let filter = (listing.phase == Phase::Refunds).then_some("refunded");
        let mut attempt = 1;
        loop {
            let error = match self.fetcher.one_slot(&self.database, Lane::Bulk, Some(&run.run_id), deadline).await {
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

    /// Reads the product list at the start of a run; without any product, no order could be valid.
    async fn read_products(&self, run: &Run, deadline: Instant) -> Result<bool, lambda_runtime::Error> {
        let mut attempt = 1;
        loop {
            let error =
                match sync::products::refresh(&self.database, &self.fetcher, Lane::Bulk, Some(&run.run_id), deadline)
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

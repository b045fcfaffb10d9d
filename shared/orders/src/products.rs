//! The location's product list, which decides which orders are valid.

use std::collections::HashSet;
use std::time::{Duration, Instant};

use database::{Database, Lane};
use domain::RunId;
use tokio::sync::Mutex;

use crate::fetch::{FetchError, Fetcher};
use crate::slots::{Demand, OneSlot};

/// How long a list read from the database is used.
const KEEP: Duration = Duration::from_secs(30);
/// A list younger than this isn't read from GHL again before an order is called invalid.
const FRESH: Duration = Duration::from_secs(60);
/// Products per page.
const PAGE_SIZE: u32 = 100;

/// The product list, as last read by any function.
#[derive(Default)]
pub struct Products {
    kept: Mutex<Option<Kept>>,
}

struct Kept {
    ids: HashSet<String>,
    read_at: Instant,
    fresh: bool,
}

impl Products {
    /// The listed products. When any of `orders` names none of them and the list isn't fresh, it is read from GHL first.
    ///
    /// # Errors
    /// [`FetchError`], also when the rate limiter has no slot before `deadline`.
    pub async fn listed_for(
        &self,
        orders: &[&domain::Order],
        database: &Database,
        fetcher: &Fetcher,
        lane: Lane,
        deadline: Instant,
    ) -> Result<HashSet<String>, FetchError> {
        let mut kept = self.kept.lock().await;
        let usable = kept.take().filter(|list| list.read_at.elapsed() < KEEP);
        let mut list = match usable {
            Some(list) => list,
            None => {
                let (ids, refreshed_at) = database.list_products().await.map_err(FetchError::Database)?;
                let age = refreshed_at.map(|at| jiff::Timestamp::now().duration_since(at).unsigned_abs());
                Kept { ids, read_at: Instant::now(), fresh: age.is_some_and(|age| age < FRESH) }
            }
        };
        if !list.fresh && orders.iter().any(|order| !order.is_valid(&list.ids)) {
            list = Kept {
                ids: refresh(database, fetcher, lane, None, deadline).await?,
                read_at: Instant::now(),
                fresh: true,
            };
        }
        let ids = list.ids.clone();
        *kept = Some(list);
        Ok(ids)
    }
}

/// Reads the product list from GHL and stores it.
///
/// # Errors
/// [`FetchError`], also when the rate limiter has no slot before `deadline`.
pub async fn refresh(
    database: &Database,
    fetcher: &Fetcher,
    lane: Lane,
    run_id: Option<&RunId>,
    deadline: Instant,
) -> Result<HashSet<String>, FetchError> {
    let mut products = Vec::new();
    let mut offset = 0;
    loop {
        // Read first, so that the slot doesn't wait for it.
        let token = fetcher.token().get().await.map_err(FetchError::Token)?;
        if !matches!(fetcher.one_slot(database, Demand::new(lane, run_id), deadline).await?, OneSlot::At(_)) {
            return Err(FetchError::NoSlot);
        }
        let page = fetcher.client().list_products(&token, offset, PAGE_SIZE).await?;
        products.extend(page.products.into_iter().map(|product| (product.id, product.name, product.image)));
        if page.rows < PAGE_SIZE as usize {
            break;
        }
        offset += u64::from(PAGE_SIZE);
    }
    database.replace_products(&products).await.map_err(FetchError::Database)?;
    Ok(products.into_iter().map(|(id, ..)| id).collect())
}

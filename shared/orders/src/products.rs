//! The location's product list, which decides which orders are valid.

use std::collections::{BTreeMap, HashSet};
use std::time::{Duration, Instant};

use database::{Database, Lane};
use domain::{Issue, RunId};
use ghl::Product;
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
                ids: refresh(database, fetcher, lane, None, deadline).await?.ids,
                read_at: Instant::now(),
                fresh: true,
            };
        }
        let ids = list.ids.clone();
        *kept = Some(list);
        Ok(ids)
    }
}

/// A product list that was read from GHL and stored.
#[derive(Debug)]
pub struct Refreshed {
    /// The products that are listed now.
    pub ids: HashSet<String>,
    /// What a person should look at: GHL counts more products than it lists.
    pub issue: Option<Issue>,
}

/// Reads the product list from GHL and stores it. One that is shorter than GHL counts is read once more, and if it still is, no
/// product is removed.
///
/// # Errors
/// [`FetchError`], also when the rate limiter has no slot before `deadline`.
pub async fn refresh(
    database: &Database,
    fetcher: &Fetcher,
    lane: Lane,
    run_id: Option<&RunId>,
    deadline: Instant,
) -> Result<Refreshed, FetchError> {
    let mut list = read(database, fetcher, lane, run_id, deadline).await?;
    if list.lacks() {
        let again = read(database, fetcher, lane, run_id, deadline).await?;
        // What one of the two has is listed.
        list = if again.lacks() {
            List { products: list.products.into_iter().chain(again.products).collect(), ..again }
        } else {
            again
        };
    }
    let whole = !list.lacks();
    let issue = (!whole).then(|| {
        let message = format!(
            "GHL counts {} products but listed only {}, twice. Products that were not listed stay valid.",
            list.total, list.rows
        );
        Issue::new("products_short", message)
    });
    if let Some(issue) = &issue {
        tracing::warn!(listed = list.rows, total = list.total, "{}", issue.message);
    }
    let products: Vec<_> = list.products.into_iter().map(|(id, product)| (id, product.name, product.image)).collect();
    let ids = database.replace_products(&products, whole).await.map_err(FetchError::Database)?;
    Ok(Refreshed { ids, issue })
}

/// A product list as read once.
#[derive(Default)]
struct List {
    products: BTreeMap<String, Product>,
    /// Different products, and rows that can't be read.
    rows: u64,
    /// The most that GHL counted.
    total: u64,
}

impl List {
    fn lacks(&self) -> bool {
        self.rows < self.total
    }
}

/// Reads page after page, until all that GHL counts are there or a page has nothing new: GHL may give fewer rows than asked for.
async fn read(
    database: &Database,
    fetcher: &Fetcher,
    lane: Lane,
    run_id: Option<&RunId>,
    deadline: Instant,
) -> Result<List, FetchError> {
    let (mut list, mut offset) = (List::default(), 0);
    loop {
        // Read first, so that the slot doesn't wait for it.
        let token = fetcher.token().get().await.map_err(FetchError::Token)?;
        if !matches!(fetcher.one_slot(database, Demand::new(lane, run_id), deadline).await?, OneSlot::At(_)) {
            return Err(FetchError::NoSlot);
        }
        let page = fetcher.client().list_products(&token, offset, PAGE_SIZE).await?;
        let known = list.products.len();
        let unreadable = page.rows.saturating_sub(page.products.len()) as u64;
        list.products.extend(page.products.into_iter().map(|product| (product.id.clone(), product)));
        let new = (list.products.len() - known) as u64;
        list.rows += new + unreadable;
        list.total = list.total.max(page.total.unwrap_or(0));
        offset += page.rows as u64;
        // A count that is less than what was listed is none.
        let all_there = list.total >= list.rows && offset >= list.total && page.total.is_some();
        if all_there || new == 0 {
            return Ok(list);
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;
    use crate::near::Near;

    fn page(ids: &[&str], total: Value) -> Value {
        let products: Vec<_> = ids.iter().map(|id| json!({ "_id": id, "name": id })).collect();
        json!({ "products": products, "total": total })
    }

    fn counts(total: u64) -> Value {
        json!([{ "total": total }])
    }

    /// What is stored of these pages, whether it is taken for whole, how many calls that took, and the issue.
    async fn stored(pages: Vec<Value>) -> (Vec<String>, bool, usize, Option<String>) {
        let near = Near::new().await;
        for page in pages {
            near.answer("/products/", page);
        }
        let deadline = Instant::now() + Duration::from_secs(60);
        let refreshed = refresh(&near.database, &near.fetcher, Lane::Bulk, None, deadline).await.unwrap();
        let asked = near.asked("replace_products");
        assert_eq!(asked.len(), 1);
        let ids = asked[0]["products"].as_array().unwrap().iter();
        let ids: Vec<_> = ids.map(|product| product["product_id"].as_str().unwrap().to_owned()).collect();
        assert_eq!(refreshed.ids, ids.iter().cloned().collect());
        (ids, asked[0]["whole"] == true, near.calls("/products/"), refreshed.issue.map(|issue| issue.code))
    }

    #[tokio::test]
    async fn a_whole_list_costs_one_call() {
        let (ids, whole, calls, issue) = stored(vec![page(&["a", "b"], counts(2))]).await;
        assert_eq!((ids.join(""), whole, calls, issue), ("ab".to_owned(), true, 1, None));
    }

    #[tokio::test]
    async fn fewer_rows_than_asked_for_are_not_the_end() {
        let (ids, whole, calls, _) = stored(vec![page(&["a", "b"], counts(3)), page(&["c"], counts(3))]).await;
        assert_eq!((ids.join(""), whole, calls), ("abc".to_owned(), true, 2));
        // Without a count, only a page without anything new is.
        let (ids, whole, calls, _) =
            stored(vec![page(&["a"], json!(null)), page(&["b"], json!(null)), page(&[], json!(null))]).await;
        assert_eq!((ids.join(""), whole, calls), ("ab".to_owned(), true, 3));
    }

    #[tokio::test]
    async fn a_list_shorter_than_its_count_is_read_again() {
        let (ids, whole, calls, issue) =
            stored(vec![page(&["a"], counts(2)), page(&[], counts(2)), page(&["a", "b"], counts(2))]).await;
        assert_eq!((ids.join(""), whole, calls, issue), ("ab".to_owned(), true, 3, None));
    }

    #[tokio::test]
    async fn one_that_stays_short_removes_nothing() {
        let short = |id| [page(&[id], counts(3)), page(&[], counts(3))];
        let (ids, whole, calls, issue) = stored([short("a"), short("b")].concat()).await;
        assert_eq!((ids.join(""), whole, calls), ("ab".to_owned(), false, 4), "what one of the two has is listed");
        assert_eq!(issue.as_deref(), Some("products_short"));
        // The same rows for every offset.
        let (ids, whole, calls, _) = stored(vec![page(&["a"], counts(3))]).await;
        assert_eq!((ids.join(""), whole, calls), ("a".to_owned(), false, 4));
    }

    #[tokio::test]
    async fn a_count_that_is_too_low_is_none() {
        let (ids, whole, calls, _) = stored(vec![page(&["a", "b"], counts(0)), page(&[], counts(0))]).await;
        assert_eq!((ids.join(""), whole, calls), ("ab".to_owned(), true, 2));
    }

    #[tokio::test]
    async fn a_row_that_cannot_be_read_is_not_missing() {
        let list = json!({ "products": [{ "_id": "a" }, { "name": "without an id" }], "total": [{ "total": 2 }] });
        let (ids, whole, calls, _) = stored(vec![list]).await;
        assert_eq!((ids.join(""), whole, calls), ("a".to_owned(), true, 1));
    }
}

//! Refunds that move no date of their order: only its transactions tell. A run reads them, newest first; the sum of what was refunded
//! for an order is acted upon once.
//!
//! A refund changes an old transaction, so that only a full run, which reads all, finds each of them; an incremental one reads those
//! of the last two days.

use std::collections::BTreeMap;

use jiff::civil::Date;
use jiff::tz::TimeZone;
use jiff::{SignedDuration, Timestamp};
use rust_decimal::Decimal;
use serde::{Deserialize, Serialize};

use crate::{OrderId, RunKind};

/// Rows per page, and once GHL has refused so many.
const PAGE_SIZE: u32 = 100;
const SMALL_PAGE_SIZE: u32 = 50;
/// How far back an incremental run reads: two days, and as many hours as the day may begin elsewhere later than in UTC. GHL takes a
/// day, and doesn't say in which time zone.
const INCREMENTAL_HOURS: i64 = 48 + 14;

/// Where reading the transactions stands. Kept in the run's row, so that any pulse can go on from it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Reading {
    /// Only transactions from this day on.
    pub from: Option<Date>,
    /// Row the next page starts at.
    pub offset: u64,
    /// Rows per page.
    pub page_size: u32,
    /// Nothing more is to be read.
    pub done: bool,
    /// The most rows on a page.
    #[serde(default)]
    most_rows: u64,
    /// GHL's count.
    #[serde(default)]
    total: u64,
    /// The first id of the page before.
    #[serde(default)]
    first: Option<String>,
}

impl Reading {
    /// What a run reads; `None` for those that read no transactions.
    #[must_use]
    pub fn start(kind: RunKind, now: Timestamp) -> Option<Self> {
        let from = match kind {
            RunKind::Full => None,
            RunKind::Incremental => {
                let from = now.checked_sub(SignedDuration::from_hours(INCREMENTAL_HOURS)).unwrap_or(now);
                Some(from.to_zoned(TimeZone::UTC).date())
            }
            RunKind::ValidList | RunKind::Retry => return None,
        };
        let (page_size, done) = (PAGE_SIZE, false);
        Some(Self { from, offset: 0, page_size, done, most_rows: 0, total: 0, first: None })
    }

    /// The next pages that can be read at the same time: the first one alone, as long as nobody knows how many there are.
    #[must_use]
    pub fn pages(&self, at_most: usize) -> Vec<Self> {
        let at_once = if self.done {
            0
        } else if self.most_rows == 0 {
            1
        } else {
            at_most
        };
        let step = usize::try_from(self.most_rows).unwrap_or(usize::MAX).max(1);
        let further = (self.offset..self.total).step_by(step).skip(1);
        let offsets = std::iter::once(self.offset).chain(further).take(at_once);
        offsets.map(|offset| Self { offset, ..self.clone() }).collect()
    }

    /// Pages from this one on, as far as GHL's count tells; at least 1.
    #[must_use]
    pub fn pages_left(&self) -> u64 {
        self.total.saturating_sub(self.offset).div_ceil(u64::from(self.page_size)).max(1)
    }

    /// GHL's count; 0 before the first page.
    #[must_use]
    pub const fn total(&self) -> u64 {
        self.total
    }

    /// What follows the page at [`Self::offset`]: so many rows, readable or not, the first of them with this id. A page's length is
    /// no end, since GHL may give fewer rows than asked for: the end is where its count is reached, or a page without anything new.
    #[must_use]
    pub fn after(&self, rows: u64, first: Option<&str>, total: u64) -> Self {
        let offset = self.offset + rows;
        // The same rows for every offset would never end.
        let stuck = rows == 0 || (first.is_some() && first == self.first.as_deref());
        let done = stuck || offset == total;
        Self {
            offset,
            total,
            done,
            most_rows: self.most_rows.max(rows),
            first: first.map(str::to_owned),
            ..self.clone()
        }
    }

    /// GHL refused the page size: the same page again, smaller. `None` if it already was the small one.
    #[must_use]
    pub fn with_small_pages(&self) -> Option<Self> {
        (self.page_size > SMALL_PAGE_SIZE).then(|| Self { page_size: SMALL_PAGE_SIZE, ..self.clone() })
    }

    /// Nothing more is read, though there may be more.
    #[must_use]
    pub fn given_up(&self) -> Self {
        Self { done: true, ..self.clone() }
    }
}

/// Money received for an order, or for something else that is sold.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Transaction {
    /// Its id.
    pub id: String,
    /// The order, if it is one's.
    pub order_id: Option<OrderId>,
    /// `status`, an open set.
    pub status: Option<String>,
    /// What was paid.
    pub amount: Decimal,
    /// What of it was given back.
    pub refunded: Decimal,
}

/// What its transactions say of an order.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Refund {
    /// Which order.
    pub order_id: OrderId,
    /// What was given back, in all.
    pub refunded: Decimal,
    /// What was paid, in all.
    pub received: Decimal,
    /// What was given back of each transaction, as the list shows it: a change shows that the sum may have changed.
    #[serde(rename = "transactions")]
    pub seen: BTreeMap<String, Decimal>,
}

impl Refund {
    /// Adds up an order's own transactions. `listed` are those by which the order was met: list and own transactions may differ for
    /// good, which must not look like a change each time.
    #[must_use]
    pub fn of<'a>(
        order_id: &OrderId,
        own: &'a [Transaction],
        listed: impl IntoIterator<Item = &'a Transaction>,
    ) -> Self {
        let by_id: BTreeMap<_, _> = own.iter().map(|transaction| (&transaction.id, transaction)).collect();
        // Beyond 28 digits money isn't counted any more.
        let sum = |of: fn(&Transaction) -> Decimal| {
            by_id.values().fold(Decimal::ZERO, |sum, transaction| sum.saturating_add(of(transaction)))
        };
        let refunded = sum(|transaction| transaction.refunded);
        let received = sum(|transaction| if transaction.is_received() { transaction.amount } else { Decimal::ZERO });
        let listed = listed.into_iter().filter(|transaction| transaction.order_id.as_ref() == Some(order_id));
        let seen = own.iter().chain(listed).map(|transaction| (transaction.id.clone(), transaction.refunded)).collect();
        Self { order_id: order_id.clone(), refunded, received, seen }
    }
}

impl Transaction {
    /// Whether money came: of what failed or is under way, nothing can be given back.
    fn is_received(&self) -> bool {
        let status = self.status.as_deref().unwrap_or_default().to_lowercase();
        !matches!(status.as_str(), "failed" | "pending" | "cancelled" | "canceled" | "processing")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn full() -> Reading {
        Reading::start(RunKind::Full, Timestamp::UNIX_EPOCH).unwrap()
    }

    fn offsets(reading: &Reading, at_most: usize) -> Vec<u64> {
        reading.pages(at_most).iter().map(|page| page.offset).collect()
    }

    #[test]
    fn an_incremental_run_reads_two_days_wherever_the_day_begins() {
        let now: Timestamp = "2026-03-10T13:00:00Z".parse().unwrap();
        let from = |kind| Reading::start(kind, now).map(|reading| reading.from.map(|day| day.to_string()));
        assert_eq!(from(RunKind::Incremental), Some(Some("2026-03-07".to_owned())));
        assert_eq!(from(RunKind::Full), Some(None));
        assert_eq!((from(RunKind::ValidList), from(RunKind::Retry)), (None, None));
    }

    /// Reads a list of so many rows, of which a page gives at most `cap`, with GHL's count as wrong as that. The calls, and where it ended.
    fn read(rows: u64, cap: u64, count: impl Fn(u64) -> u64) -> (u32, u64) {
        let (mut reading, mut calls) = (full(), 0);
        while !reading.done {
            assert_eq!(offsets(&reading, 8)[0], reading.offset);
            let given = rows.saturating_sub(reading.offset).min(cap).min(u64::from(reading.page_size));
            let first = format!("t{}", reading.offset);
            reading = reading.after(given, (given > 0).then_some(&first), count(rows));
            calls += 1;
            assert!(calls < 100, "it doesn't end");
        }
        (calls, reading.offset)
    }

    #[test]
    fn it_ends_where_the_count_is_reached_or_nothing_follows() {
        for (rows, calls) in [(0, 1), (1, 1), (100, 1), (101, 2), (250, 3)] {
            assert_eq!(read(rows, 100, |rows| rows), (calls, rows), "{rows}");
            assert_eq!(read(rows, 20, |rows| rows).1, rows, "pages of 20");
            assert_eq!(read(rows, 100, |_| 0).1, rows, "no count");
            assert_eq!(read(rows, 100, |rows| rows + 7).1, rows, "counts too many");
        }
        assert_eq!(read(250, 100, |_| 249).1, 250, "counts too few");
    }

    #[test]
    fn a_list_that_knows_no_offset_ends() {
        let again = full().after(100, Some("t0"), 250).after(100, Some("t0"), 250);
        assert!(again.done);
    }

    #[test]
    fn pages_are_read_side_by_side_once_their_number_is_known() {
        assert_eq!(offsets(&full(), 8), [0]);
        let second = full().after(100, Some("t0"), 450);
        assert_eq!((offsets(&second, 3), offsets(&second, 8)), (vec![100, 200, 300], vec![100, 200, 300, 400]));
        assert_eq!(second.pages_left(), 4);
        let capped = full().after(20, Some("t0"), 50);
        assert_eq!(offsets(&capped, 8), [20, 40]);
        assert_eq!(offsets(&full().after(100, Some("t0"), 100), 8), [] as [u64; 0]);
        assert_eq!(offsets(&second.given_up(), 8), [] as [u64; 0]);
        let small = second.with_small_pages().unwrap();
        assert_eq!((small.page_size, small.offset, small.with_small_pages()), (50, 100, None));
    }

    #[test]
    fn it_is_kept_in_the_runs_row() {
        let reading = Reading::start(RunKind::Incremental, Timestamp::UNIX_EPOCH).unwrap().after(100, Some("t0"), 450);
        let kept = serde_json::to_value(&reading).unwrap();
        assert_eq!(serde_json::from_value::<Reading>(kept).unwrap(), reading);
    }

    fn id() -> OrderId {
        OrderId::try_new("660000000000000000000001").unwrap()
    }

    fn transaction(id: &str, status: &str, amount: &str, refunded: &str) -> Transaction {
        let (amount, refunded) = (amount.parse().unwrap(), refunded.parse().unwrap());
        Transaction { id: id.to_owned(), order_id: Some(self::id()), status: Some(status.to_owned()), amount, refunded }
    }

    #[test]
    fn sums_are_exact_and_of_different_transactions() {
        let own = [
            transaction("a", "succeeded", "0.1", "0.1"),
            transaction("b", "succeeded", "0.2", "0.2"),
            transaction("b", "succeeded", "0.2", "0.2"),
            transaction("c", "Failed", "99", "0"),
        ];
        let refund = Refund::of(&id(), &own, []);
        assert_eq!((refund.refunded.to_string(), refund.received.to_string()), ("0.3".to_owned(), "0.3".to_owned()));
        let huge = [transaction("a", "", "1", "79228162514264337593543950335"), transaction("b", "", "1", "1")];
        assert_eq!(Refund::of(&id(), &huge, []).refunded, Decimal::MAX);
    }

    #[test]
    fn what_the_list_shows_is_remembered_and_what_the_order_says_is_summed() {
        let other = Transaction { order_id: None, ..transaction("c", "succeeded", "5", "5") };
        let listed = [transaction("a", "succeeded", "10", "4"), other];
        let refund =
            Refund::of(&id(), &[transaction("a", "succeeded", "10", "6"), transaction("b", "", "1", "0")], &listed);
        assert_eq!(refund.refunded, Decimal::from(6));
        let seen: Vec<_> = refund.seen.iter().map(|(id, refunded)| format!("{id}: {refunded}")).collect();
        assert_eq!(seen, ["a: 4", "b: 0"]);
    }
}

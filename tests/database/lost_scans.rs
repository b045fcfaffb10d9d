//! Answers lost at every point: on the way to the database nothing was decided, on the way back everything was. Scanners repeat a scan
//! until they hear of it, and then whoever holds a live ticket is in, once.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use serde_json::{Value, json};
use tokio::task::JoinSet;
use tokio_postgres::Client;

use crate::harness::{TestDatabase, call};
use crate::orders::{assert_in_step, line, order, sync, with};

const ORDERS: u32 = 60;
/// Each the same holder's, all of one order live or all cancelled.
const TICKETS_PER_ORDER: u32 = 5;
const SCANS: usize = 1_000;
const SCANNERS: u64 = 10;
/// Of ten ways of a request and of an answer.
const LOST_OF_TEN: u32 = 4;

/// What a scanner was told of one scan, once an answer arrived.
struct Told {
    ticket: u32,
    scan_id: String,
    by: String,
    answer: Value,
    /// How often it had to ask.
    asked: u32,
}

struct Scanner {
    server: Client,
    by: String,
    random: StdRng,
}

impl Scanner {
    fn loses(&mut self) -> bool {
        self.random.random_ratio(LOST_OF_TEN, 10)
    }

    /// Asks until an answer arrives. Also a copy of the request may arrive, after whatever the scanner has done since.
    async fn scan(&mut self, ticket: u32, late: &mut Vec<Value>) -> Told {
        let scan_id = format!("{:032x}", self.random.random::<u128>());
        let request = json!({"ticket_id": ticket, "by": self.by, "scan_id": scan_id, "gate": "Main gate"});
        for asked in 1.. {
            if self.loses() {
                continue;
            }
            if self.random.random_ratio(1, 10) {
                late.push(request.clone());
            }
            let answer = call(&self.server, "validate_ticket", request.clone()).await;
            if self.loses() {
                continue;
            }
            return Told { ticket, scan_id, by: self.by.clone(), answer, asked };
        }
        unreachable!("it asks until it hears");
    }
}

/// Scans random tickets: some twice by one scanner, some by two at once, as copies are.
async fn play(mut scanner: Scanner, left: Arc<AtomicUsize>) -> (Vec<Told>, Vec<Value>) {
    let (mut told, mut late) = (Vec::new(), Vec::new());
    while left.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |left| left.checked_sub(1)).is_ok() {
        let ticket = scanner.random.random_range(1..=ORDERS * TICKETS_PER_ORDER);
        told.push(scanner.scan(ticket, &mut late).await);
    }
    for request in &late {
        call(&scanner.server, "validate_ticket", request.clone()).await;
    }
    (told, late)
}

fn is_live(ticket: u32) -> bool {
    !((ticket - 1) / TICKETS_PER_ORDER).is_multiple_of(6)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn whoever_holds_a_live_ticket_is_admitted_once_however_many_answers_are_lost() {
    let chosen = || u64::from(rand::random::<u32>());
    let seed =
        std::env::var("TEST_SEED").map_or_else(|_| chosen(), |text| text.parse().expect("TEST_SEED is a number"));
    println!("repeat it with TEST_SEED={seed}");
    let database = TestDatabase::new().await;
    for number in 0..ORDERS {
        let entitled = is_live(number * TICKETS_PER_ORDER + 1);
        let lines = [line("p1", "vip", "VIP", TICKETS_PER_ORDER)];
        sync(&database, order(&format!("order-{number}"), &lines)).await;
        if !entitled {
            let refunded = json!({"source_updated_at": "2026-03-02T00:00:00Z", "entitled": false, "entitlement_reason": "refunded"});
            sync(&database, with(order(&format!("order-{number}"), &lines), refunded)).await;
        }
    }

    let left = Arc::new(AtomicUsize::new(SCANS));
    let mut scanners = JoinSet::new();
    for number in 0..SCANNERS {
        let server = database.another_server().await;
        // Scanners share users, as staff does.
        let by = format!("user-{}", number / 2);
        let random = StdRng::seed_from_u64(seed + number);
        scanners.spawn(play(Scanner { server, by, random }, Arc::clone(&left)));
    }
    let (told, late): (Vec<_>, Vec<_>) = scanners.join_all().await.into_iter().unzip();
    let told: Vec<_> = told.into_iter().flatten().collect();
    assert_eq!(told.len(), SCANS);

    // What happened at all.
    let count = |wanted: &dyn Fn(&Told) -> bool| told.iter().filter(|told| wanted(told)).count();
    let repeated = count(&|told| told.answer["repeated"] == true);
    let asked: u32 = told.iter().map(|told| told.asked).sum();
    println!("{asked} asked, {repeated} told again, {} came late", late.iter().flatten().count());
    assert!(repeated > 50 && late.iter().flatten().count() > 50, "hardly any answer was lost");

    // Whoever holds a live ticket: one scan of each that was scanned at all was told `admitted`, however often it asked.
    let mut scans = BTreeMap::<u32, Vec<&Told>>::new();
    told.iter().for_each(|told| scans.entry(told.ticket).or_default().push(told));
    assert!(scans.len() > 250, "only {} tickets were scanned", scans.len());
    for (ticket, of_it) in &scans {
        let results: Vec<_> = of_it.iter().map(|told| told.answer["result"].as_str().unwrap()).collect();
        let admitted = results.iter().filter(|result| **result == "admitted").count();
        if is_live(*ticket) {
            assert_eq!(admitted, 1, "ticket {ticket}: {results:?}");
            assert!(results.iter().all(|result| ["admitted", "already_validated"].contains(result)), "{results:?}");
        } else {
            assert!(results.iter().all(|result| *result == "cancelled"), "ticket {ticket}: {results:?}");
        }
    }
    let admissions = "select ticket_id, count(*) from ghl_qr_ticket_changes where new_status = 'validated' group by 1";
    let admissions = database.rows(admissions).await;
    assert!(admissions.iter().all(|row| row["count"] == 1), "{admissions:?}");
    assert_eq!(admissions.len(), scans.keys().filter(|ticket| is_live(**ticket)).count());

    // Two minutes later: a copy of a ticket, and the very same scan.
    database.execute("update gate_scans set scanned_at = scanned_at - interval '2 minutes'").await;
    for told in told.iter().filter(|told| is_live(told.ticket)) {
        let copy = json!({"ticket_id": told.ticket, "by": told.by, "scan_id": format!("copy-{}", told.scan_id)});
        let same = json!({"ticket_id": told.ticket, "by": told.by, "scan_id": told.scan_id});
        for request in [copy, same] {
            assert_eq!(database.call("validate_ticket", request).await["result"], "already_validated");
        }
    }
    assert_in_step(&database).await;
}

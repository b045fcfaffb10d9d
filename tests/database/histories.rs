//! Random histories of orders against a model: GHL edits them, reads arrive late, twice or out of order, workers die
//! between two steps, people scan, cancel, delete and are forgotten. At rest the tickets must be what the model says.
//!
//! `TEST_HISTORIES` sets how many (10,000 in CI and with `TEST_ALL=1`, else 2,000), `TEST_SEED` repeats them.
//!
//! | module | what it is |
//! |---|---|
//! | `ghl` | the order in GHL, and what a read of it returns |
//! | `row` | what the reads that arrived make of the order's row |
//! | `tickets` | what must be true of the tickets |
//! | `history` | chooses what happens next, and checks |
//! | `group` | plays many histories in lockstep |

mod ghl;
mod group;
mod history;
mod row;
mod tickets;

use std::collections::BTreeMap;
use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use tokio::task::JoinSet;
use tokio_postgres::Client;

use self::group::{Broken, Group};
use crate::harness::TestDatabase;

const GROUP: u64 = 250;
const CONNECTIONS: usize = 2;
/// Where CI's histories begin.
const CI_SEED: u64 = 744_153_501;

/// What the histories are about: without any of these, they would pass for nothing.
const MUST_HAPPEN: [&str; 63] = [
    "quantity",
    "renamed",
    "line removed",
    "a product vanishes",
    "a price vanishes",
    "a price's name vanishes",
    "ids are back",
    "from now on only ids vanish and come back",
    "from now on all ids are there",
    "numbers compared",
    "taken on",
    "all lines gone",
    "no longer paid",
    "a status nobody knows",
    "paid again",
    "updatedAt in the future",
    "updatedAt back from the future",
    "read",
    "a worker dies with the newest read",
    "time passes",
    "written",
    "unchanged",
    "stale",
    "skipped",
    "lines_unreadable",
    "lines_unclear",
    "original_tickets_unclear",
    "status_unclear",
    "older_version_applied",
    "due",
    "not due",
    "reconciled",
    "added",
    "reinstated",
    "cancelled",
    "relabelled",
    "over_validated",
    "at rest",
    "begins with tickets of the original app",
    "the original app adds a ticket",
    "somebody sets",
    "somebody deletes",
    "admitted",
    "a second scan",
    "refused",
    "undone",
    "nothing to undo",
    "told again",
    "a used scan",
    "another ticket's scan",
    "cancelled by hand",
    "cancelled by hand again",
    "cancelling an admitted ticket",
    "cancelling what sync cancelled",
    "reinstated by hand",
    "reinstated by hand again",
    "no place to reinstate",
    "nothing to reinstate",
    "somebody is forgotten",
    "somebody unknown is forgotten",
    "written without its buyer",
    "compared without its buyer",
    "last read",
];

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn tickets_are_right_after_any_history() {
    let in_ci = std::env::var_os("CI").is_some();
    let all = in_ci || std::env::var_os("TEST_ALL").is_some_and(|value| !value.is_empty());
    let histories = from_environment("TEST_HISTORIES").unwrap_or(if all { 10_000 } else { 2_000 });
    // The same ones in CI, so that red means the change; new ones everywhere else.
    let chosen = || if in_ci { CI_SEED } else { u64::from(rand::random::<u32>()) };
    let first = from_environment("TEST_SEED").unwrap_or_else(chosen);
    println!("{histories} histories from seed {first}");

    let database = TestDatabase::new().await;
    let next_group = Arc::new(AtomicU64::new(first));
    let mut players = JoinSet::new();
    for _ in 0..CONNECTIONS {
        players.spawn(play_groups(database.another_server().await, Arc::clone(&next_group), first + histories));
    }
    let mut met = BTreeMap::<_, u64>::new();
    while let Some(player) = players.join_next().await {
        // What a player panicked with is printed already.
        let player = player.unwrap_or_else(|error| std::panic::resume_unwind(error.into_panic()));
        player.into_iter().for_each(|(what, times)| *met.entry(what).or_default() += times);
    }
    crate::orders::assert_in_step(&database).await;
    println!("{met:#?}");
    let missing: Vec<_> = MUST_HAPPEN.iter().filter(|what| !met.contains_key(*what)).collect();
    assert!(missing.is_empty() || histories < 1000, "never happened: {missing:?}");
}

/// Else a failing one couldn't be repeated, or the database mixes up what it is asked together.
#[tokio::test]
async fn a_history_is_the_same_alone_and_in_a_group() {
    let seeds = 1..31;
    let database = TestDatabase::new().await;
    let together = play(database.another_server().await, seeds.clone()).await;
    let alone = TestDatabase::new().await;
    let mut server = alone.another_server().await;
    for (seed, in_group) in seeds.zip(&together.histories) {
        let group = play(server, seed..seed + 1).await;
        assert_eq!(group.histories[0].log, in_group.log, "history {seed}");
        server = group.into_server();
    }
}

/// Plays groups until none is left, and returns how often what happened.
async fn play_groups(mut server: Client, next_group: Arc<AtomicU64>, end: u64) -> BTreeMap<&'static str, u64> {
    let mut met = BTreeMap::new();
    loop {
        let first = next_group.fetch_add(GROUP, Ordering::Relaxed);
        if first >= end {
            return met;
        }
        let group = play(server, first..end.min(first + GROUP)).await;
        for (what, times) in group.histories.iter().flat_map(|history| &history.met) {
            *met.entry(*what).or_default() += times;
        }
        server = group.into_server();
    }
}

async fn play(server: Client, seeds: Range<u64>) -> Group {
    let mut group = Group::new(server, seeds.clone());
    let Err(Broken(index, wrong)) = group.play().await else { return group };
    let with_group = format!("TEST_SEED={} TEST_HISTORIES={}", seeds.start, seeds.end - seeds.start);
    let Some(index) = index else { panic!("{wrong}\nThis group failed, repeat it with {with_group}") };
    let history = &group.histories[index];
    panic!(
        "{wrong}\nhistory {seed} failed:\n  {}\nRepeat it with TEST_SEED={seed} TEST_HISTORIES=1, with its group by {with_group}",
        history.log.join("\n  "),
        seed = history.seed,
    );
}

fn from_environment(name: &str) -> Option<u64> {
    std::env::var(name).ok().map(|text| text.parse().unwrap_or_else(|_| panic!("{name} must be a number: {text}")))
}

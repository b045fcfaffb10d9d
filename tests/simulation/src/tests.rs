#![allow(clippy::indexing_slicing, clippy::unwrap_used, reason = "a test fails by panicking")]

use domain::listing::{OVERLAP, PAGE_SIZE};

use crate::looks::{Look, look_on};
use crate::{Deployed, Found, Pace, Setting, prices, simulate};

fn setting(locations: usize, orders: u64) -> Setting {
    Setting { locations, orders, dashboards: 10, pace: Pace::measured(400, 40) }
}

fn simulated(locations: usize, orders: u64) -> Found {
    simulate(setting(locations, orders), &Deployed::read())
}

/// A page of products, and pages of orders that overlap.
fn calls_at_least(orders: u64) -> u64 {
    let pages = 1 + orders.saturating_sub(u64::from(PAGE_SIZE)).div_ceil(u64::from(PAGE_SIZE - OVERLAP));
    1 + pages + orders
}

fn bound_seconds(calls: u64) -> f64 {
    0.4 + 10.0 * (calls.saturating_sub(1) / 100) as f64
}

#[test]
fn a_sync_makes_the_calls_it_needs_and_never_too_many_in_a_window() {
    for orders in [1, 99, 150, 1_000, 5_000] {
        let found = simulated(1, orders);
        assert!((0..=1).contains(&(found.ghl_calls - calls_at_least(orders))), "{orders}: {found:?}");
        assert!(found.most_in_window <= 100, "{orders}: {found:?}");
        assert_eq!(found.pauses, 0);
    }
}

#[test]
fn alone_a_sync_takes_little_more_than_the_limit_demands() {
    for orders in [1_000, 5_000] {
        let found = simulated(1, orders);
        let ratio = found.milliseconds as f64 / 1_000.0 / bound_seconds(found.ghl_calls);
        assert!((1.0..1.08).contains(&ratio), "{orders}: {ratio} {found:?}");
    }
}

/// Slots free in the pieces in which they were granted, page by page at first: whoever takes each piece at once never gets them together
/// again.
#[test]
fn waiting_for_more_calls_makes_fewer_messages() {
    let at_once = simulate(setting(1, 5_000), &Deployed { worth_a_message: 0, ..Deployed::read() });
    for worth_a_message in [8, 16, 25, 32] {
        let deployed = Deployed { worth_a_message, ..Deployed::read() };
        let waiting = simulate(setting(1, 5_000), &deployed);
        println!(
            "{worth_a_message}: {} ms, {} calls, {:.0} GB-s, {} invocations; at once {} ms, {} calls, {:.0} GB-s, {}",
            waiting.milliseconds,
            waiting.database_calls,
            waiting.gb_seconds(),
            waiting.invocations,
            at_once.milliseconds,
            at_once.database_calls,
            at_once.gb_seconds(),
            at_once.invocations
        );
        assert!(waiting.database_calls < at_once.database_calls, "{worth_a_message}: {waiting:?} {at_once:?}");
    }
}

#[test]
fn what_an_order_costs_does_not_grow_with_the_orders() {
    let [small, large] = [2_000, 20_000].map(|orders| simulated(1, orders));
    // In which pieces slots free is settled in the first windows, by chance: 0.23 to 0.26 calls.
    assert!(large.database_calls_per_order() < 1.25 * small.database_calls_per_order(), "{small:?} {large:?}");
    assert!(large.most_rows <= small.most_rows, "{small:?} {large:?}");
    let each = |found: &Found| prices::dollars(found) / found.orders as f64;
    assert!(each(&large) < 1.1 * each(&small), "{} {}", each(&small), each(&large));
}

#[test]
fn a_day_holds_no_more_calls_than_ghl_grants_and_the_next_one_goes_on() {
    let deployed = Deployed { calls_per_day: 4_000, ..Deployed::read() };
    let found = simulate(setting(1, 5_000), &deployed);
    assert_eq!(found.pauses, 1, "{found:?}");
    assert!(found.milliseconds > 86_400_000, "{found:?}");
    assert!(found.most_in_window <= 100, "{found:?}");
}

#[test]
fn locations_have_a_limit_each_and_share_the_functions() {
    let [one, ten] = [1, 10].map(|locations| simulated(locations, 500));
    assert_eq!(ten.ghl_calls, 10 * one.ghl_calls);
    assert!(ten.most_in_window <= 100, "{ten:?}");
    let deployed = Deployed::read();
    let most = deployed.runs.most + deployed.bulk.most + deployed.tickets.most;
    assert!(ten.most_executions as usize <= most, "{ten:?}");
}

#[test]
fn the_template_decides_what_is_simulated() {
    let deployed = Deployed::read();
    let alone = Deployed { bulk: crate::deployed::Mapping { most: 1, ..deployed.bulk }, ..deployed };
    let with_twice_the_memory = Deployed {
        bulk: crate::deployed::Mapping { memory_mb: 2 * deployed.bulk.memory_mb, ..deployed.bulk },
        ..deployed
    };
    let of = |deployed: &Deployed| simulate(setting(10, 200), deployed);
    assert!(of(&alone).milliseconds > of(&deployed).milliseconds);
    assert!(of(&with_twice_the_memory).billed > of(&deployed).billed);
}

/// From a fifth of the run on, `etaSeconds` is off by a quarter at most, or by so many seconds, whenever somebody looks.
fn assert_eta_is_right(orders: u64, pace: Pace, seconds: f64) {
    let (looks, took) = look_on(Setting { pace, ..setting(1, orders) }, &Deployed::read(), 200);
    assert!(looks.len() as u64 > took / 250, "{} looks in {took} ms", looks.len());
    for look in looks.iter().filter(|look| look.at >= took / 5) {
        let (left, eta) = ((took - look.at) as f64 / 1_000.0, look.eta_seconds);
        let is_right = eta.is_some_and(|eta| (eta as f64 - left).abs() <= (0.25 * left).max(seconds));
        assert!(is_right, "{orders} orders, {pace:?}, {left:.1} s of {took} ms left: {look:?}");
    }
}

#[test]
fn the_time_left_is_right_from_a_fifth_of_the_run_on() {
    // Fewer than a window holds are over at once.
    for orders in [98, 150, 400, 1_000, 5_000] {
        for (ghl_ms, database_ms) in [(400, 40), (100, 5), (400, 300)] {
            assert_eta_is_right(orders, Pace::measured(ghl_ms, database_ms), 2.0);
        }
    }
}

/// Two workers can't keep up with the limit then, and orders are done by the message, of which each takes so long.
#[test]
fn the_time_left_is_right_too_where_ghl_or_the_database_is_slower_than_the_limit() {
    for (ghl_ms, database_ms) in [(9_000, 40), (400, 3_000)] {
        assert_eta_is_right(5_000, Pace::measured(ghl_ms, database_ms), 30.0);
    }
}

#[test]
fn in_the_pauses_of_the_limit_the_time_left_counts_down_and_so_does_what_is_waited_for() {
    for orders in [150, 1_000] {
        let (looks, took) = look_on(setting(1, orders), &Deployed::read(), 100);
        let nothing_happened = |pair: &&[Look]| pair[0].calls == pair[1].calls && pair[0].done == pair[1].done;
        let pairs: Vec<_> = looks.windows(2).filter(|pair| pair[0].at >= took / 10).filter(nothing_happened).collect();
        for pair in &pairs {
            assert!(pair[1].eta_seconds <= pair[0].eta_seconds, "{pair:?}");
            if let (Some(before), Some(after)) = (pair[0].wait_seconds, pair[1].wait_seconds) {
                assert!(after <= before, "{pair:?}");
            }
        }
        // Whoever looks on in a pause is told when it ends.
        let waits = pairs.iter().filter(|pair| pair[0].wait_seconds.is_some()).count();
        assert!(waits * 10 > pairs.len() * 5, "{waits} of {} quiet moments", pairs.len());
        for (at, look) in looks.iter().enumerate() {
            let Some(wait) = look.wait_seconds else { continue };
            let resumed = looks[at..].iter().find(|later| later.calls > look.calls);
            let Some(resumed) = resumed else { continue };
            // Some calls are worth a message only together with others, for which a run waits for a fifth of a window.
            assert!(resumed.at + 1_000 >= look.at + wait * 1_000 - 100, "{look:?} {resumed:?}");
            assert!(resumed.at <= look.at + wait * 1_000 + 2_500, "{look:?} {resumed:?}");
        }
    }
}

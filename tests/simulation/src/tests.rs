#![allow(clippy::indexing_slicing, clippy::unwrap_used, reason = "a test fails by panicking")]

use domain::listing::{OVERLAP, PAGE_SIZE};

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

#![allow(clippy::indexing_slicing, clippy::panic, clippy::unwrap_used, reason = "a test fails by panicking")]

use proptest::prelude::*;

use crate::history::{Act, acts, limits};
use crate::world::{Place, What, World};
use crate::{Ask, Lane, Limiter, Limits, MS, Seen};

/// The most calls in any window, which begins with one of them.
fn fullest(sent: &[(i64, i64)], window_ms: i64) -> i64 {
    let in_window = |from: i64| {
        let of_it = sent.iter().filter(|(at, _)| *at >= from && *at < from + window_ms);
        of_it.map(|(_, calls)| calls).sum::<i64>()
    };
    sent.iter().map(|(at, _)| in_window(*at)).max().unwrap_or(0)
}

fn without(acts: Vec<Act>, unwanted: impl Fn(&Act) -> bool) -> Vec<Act> {
    acts.into_iter().filter(|act| !unwanted(act)).collect()
}

fn others(place: &Place) -> i64 {
    place.limiter.foreign.iter().map(|calls| calls.calls).sum()
}

proptest! {
    #[test]
    fn property_no_window_of_sending_holds_more_than_the_maximum(limits in limits(), acts in acts(60)) {
        let mut world = World::new(limits);
        world.play(&acts);
        for place in &world.places {
            prop_assert!(fullest(&place.sent, limits.window_ms) <= limits.max, "{:?}", place.sent);
        }
    }

    #[test]
    fn property_own_calls_are_never_taken_for_those_of_others(limits in limits(), acts in acts(60)) {
        let acts = without(acts, |act| matches!(act, Act::Others { .. } | Act::SetBack(_)));
        let mut world = World::new(limits);
        for act in &acts {
            world.act(act);
            for place in &world.places {
                prop_assert_eq!(others(place), 0);
            }
        }
    }

    /// Reads are ordered by their grants' times, so those never go backwards.
    #[test]
    fn property_no_grant_is_before_the_last_one(limits in limits(), acts in acts(60)) {
        let mut world = World::new(limits);
        world.play(&acts);
        for location in 0..world.places.len() {
            let (mut last, mut known) = (0, Vec::new());
            for call in world.calls.iter().filter(|call| call.location == location) {
                let What::Ask(ask, answer) = &call.what else { continue };
                if answer.granted > 0 && !known.contains(&ask.id) {
                    prop_assert!(answer.granted_at >= last, "{call:?}");
                    (last, known) = (answer.granted_at, [known, vec![ask.id]].concat());
                }
            }
        }
    }

    /// However often an answer is lost, an id takes the slots that it was granted first, and as long as it was to.
    #[test]
    fn property_asked_again_it_is_the_same_grant(
        max in 1..60_i64, wanted in 1..80_i64, margin_ms in 0..3_000_i64, again in prop::collection::vec(0..14_000_i64, 1..5),
    ) {
        let limits = Limits { max, window_ms: 10_000, daily_reserve: 0 };
        let mut world = World::new(limits);
        let ask = Ask { margin_ms, remaining: Some(0), ..world.plain(Lane::Priority, wanted) };
        let first = world.ask(0, &ask);
        let mut now = 0;
        for pause in again {
            now += pause;
            world.act(&Act::Pass(pause));
            if now >= 10_000 + margin_ms {
                break;
            }
            let repeated = world.ask(0, &ask);
            prop_assert_eq!((repeated.granted, repeated.granted_at), (first.granted, first.granted_at));
            let rest = Ask { id: None, ..world.plain(Lane::Priority, 1_000) };
            let clock = world.calls.last().unwrap().clock;
            prop_assert_eq!(world.places[0].limiter.clone().ask(clock, &rest).granted, max - first.granted);
        }
    }

    /// What is handed back is free at once; but only the first time, and only while it took slots at all.
    #[test]
    fn property_a_grant_is_handed_back_once_and_in_time(
        wanted in 1..80_i64, margin_ms in 0..3_000_i64, unused in 0..80_i64, times in prop::collection::vec(0..20_000_i64, 1..4),
    ) {
        let (limits, mut limiter) = (Limits { max: 50, window_ms: 10_000, daily_reserve: 0 }, Limiter::default());
        let (lane, seen) = (Lane::Priority, Seen::default());
        let ask = Ask { id: Some(7), lane, wanted, remaining: None, margin_ms, limits, seen };
        let granted = limiter.ask(0, &ask).granted;
        let (mut now, mut is_handed_back) = (0, unused == 0);
        for pause in times {
            now += pause * MS;
            let takes_slots = now < (10_000 + margin_ms) * MS;
            let freed = if takes_slots && !is_handed_back { unused.min(granted) } else { 0 };
            prop_assert_eq!(limiter.hand_back(now, 8, unused), 0, "nobody's id");
            prop_assert_eq!(limiter.hand_back(now, 7, unused), freed);
            is_handed_back |= takes_slots;
            let held = if takes_slots { granted - unused.min(granted) } else { 0 };
            let rest = Ask { id: None, wanted: 1_000, ..ask };
            prop_assert_eq!(limiter.clone().ask(now, &rest).granted, 50 - held);
        }
    }

    /// Whoever waits as told gets something then, if nobody came before, and nothing a millisecond earlier.
    #[test]
    fn property_the_time_to_ask_again_is_neither_too_early_nor_too_late(
        limits in limits(), acts in acts(40), is_bulk: bool, wanted in 1..50_i64, remaining in prop::option::of(0..300_i64),
    ) {
        let mut world = World::new(limits);
        for act in &without(acts, |act| matches!(act, Act::SetBack(_))) {
            world.act(act);
        }
        let lane = if is_bulk { Lane::Bulk } else { Lane::Priority };
        let ask = Ask { remaining, ..world.plain(lane, wanted) };
        let answer = world.ask(0, &ask);
        prop_assume!(answer.granted < wanted);
        let (limiter, now) = (&world.places[0].limiter, world.calls.last().unwrap().clock);
        let later = |ms: i64| {
            let more = Ask { id: None, ..ask };
            limiter.clone().ask(now + ms * MS, &more).granted
        };
        prop_assert!(later(answer.wait_ms) > 0);
        prop_assert_eq!(later(answer.wait_ms - 1), 0);
    }

    /// A run that takes what it can get, beside webhooks that come singly and in bursts: whatever it takes beyond its quarter leaves as many
    /// slots as webhooks wait for that were told when to ask again.
    #[test]
    fn property_bulk_never_pushes_a_webhook_past_the_next_slots(
        max in 4..60_i64,
        turns in prop::collection::vec((0..900_i64, prop_oneof![4 => Just(0), 2 => 1..3, 1 => 3..20], 0..60_i64, any::<bool>()), 60),
    ) {
        let limits = Limits { max, window_ms: 10_000, daily_reserve: 0 };
        let mut world = World::new(limits);
        let (mut told, mut bulk): (Vec<i64>, Vec<(i64, i64)>) = (Vec::new(), Vec::new());
        let mut now = 0;
        for (pause, new, wanted, bulk_is_first) in turns {
            world.act(&Act::Pass(pause));
            now += pause;
            for is_bulks_turn in [bulk_is_first, !bulk_is_first] {
                if !is_bulks_turn {
                    let due = told.extract_if(.., |at| *at <= now).count() + usize::try_from(new).unwrap();
                    for _ in 0..due {
                        let webhook = world.plain(Lane::Priority, 1);
                        let answer = world.ask(0, &webhook);
                        if answer.granted == 0 {
                            told.push(now + answer.wait_ms);
                        }
                    }
                    continue;
                }
                let ask = world.plain(Lane::Bulk, wanted);
                let granted = world.ask(0, &ask).granted;
                bulk.push((now, granted));
                let held: i64 = bulk.iter().filter(|(at, _)| at + 10_250 > now).map(|(_, calls)| calls).sum();
                let probe = Ask { id: None, ..world.plain(Lane::Priority, 1_000) };
                let clock = world.calls.last().unwrap().clock;
                let left = world.places[0].limiter.clone().ask(clock, &probe).granted;
                // Of a hundred asks at most there are notes.
                let waiting = told.iter().filter(|at| **at + 2_000 > now).count().min(80) as i64;
                let is_within = granted == 0 || held <= (max / 4).max(1) || left >= waiting;
                prop_assert!(is_within, "{granted} granted, {held} held: {left} left for {waiting}");
            }
        }
    }

    /// Webhooks that take whatever they can, at any moment: the run gets its quarter of every window all the same.
    #[test]
    fn property_bulk_always_gets_its_quarter(max in 4..60_i64, pauses in prop::collection::vec(1..400_i64, 400)) {
        let limits = Limits { max, window_ms: 10_000, daily_reserve: 0 };
        let mut world = World::new(limits);
        let (mut now, mut got, mut ask_at) = (0, 0, 0);
        for pause in pauses {
            world.act(&Act::Pass(pause));
            now += pause;
            let webhooks = world.plain(Lane::Priority, max);
            world.ask(0, &webhooks);
            if now >= ask_at {
                let ask = world.plain(Lane::Bulk, max);
                let answer = world.ask(0, &ask);
                got += answer.granted;
                ask_at = now + answer.wait_ms;
            }
        }
        // The first window is the webhooks', and a pause is up to 0.4 s.
        prop_assert!(got >= (now / 10_650 - 2) * (max / 4), "{got} of {max} in {now} ms");
    }

    /// What other apps call takes slots, but nobody keeps any for them: an idle lane of webhooks has its two, and bulk the rest.
    #[test]
    fn property_nothing_is_reserved_for_other_apps(max in 4..100_i64, foreign in 0..100_i64) {
        let foreign = foreign.min(max);
        let limits = Limits { max, window_ms: 10_000, daily_reserve: 0 };
        let seen = Seen { max: Some(max), remaining: Some(max - foreign), age_ms: Some(0), took_ms: Some(0), ..Seen::default() };
        let ask = Ask { id: Some(1), lane: Lane::Bulk, wanted: 1_000, remaining: Some(0), margin_ms: 250, limits, seen };
        let free = max - foreign;
        prop_assert_eq!(Limiter::default().ask(0, &ask).granted, free.min((free - 2).max((free / 4).max(1))));
        // And whoever is told so by GHL isn't granted more than is left.
        let webhook = Ask { lane: Lane::Priority, ..ask };
        prop_assert_eq!(Limiter::default().ask(0, &webhook).granted, free);
    }
}

/// GHL's limit as it is.
const LIMITS: Limits = Limits { max: 100, window_ms: 10_000, daily_reserve: 0 };

/// A run of so many calls that asks `gap_ms` after it was told to, beside webhooks at given times. Returns when its last call was granted,
/// and for how long the slowest webhook waited, in milliseconds.
fn run(calls: i64, gap_ms: i64, webhooks: &[i64]) -> (i64, i64) {
    let mut world = World::new(LIMITS);
    let mut asking: Vec<(i64, i64)> = webhooks.iter().map(|at| (*at, *at)).collect();
    let (mut remaining, mut ask_at, mut slowest) = (calls, 0, 0);
    for now in 0.. {
        for (since, at) in std::mem::take(&mut asking) {
            let webhook = world.plain(Lane::Priority, 1);
            match at <= now {
                true => match world.ask(0, &webhook) {
                    answer if answer.granted > 0 => slowest = slowest.max(now - since),
                    answer => asking.push((since, now + answer.wait_ms)),
                },
                false => asking.push((since, at)),
            }
        }
        if now >= ask_at {
            let ask = Ask { remaining: Some(remaining), ..world.plain(Lane::Bulk, remaining) };
            let answer = world.ask(0, &ask);
            remaining -= answer.granted;
            ask_at = now + answer.wait_ms + gap_ms;
        }
        if remaining == 0 && asking.is_empty() {
            return (now, slowest);
        }
        world.act(&Act::Pass(1));
    }
    unreachable!("a run ends")
}

#[test]
fn a_run_without_webhooks_uses_all_but_the_reserve() {
    // Whole windows as if it took them at once; the last one in thirds at most.
    for calls in [164, 1_024, 5_069] {
        let (took, _) = run(calls, 100, &[]);
        let whole = (calls - 1) / 98 * (10_000 + 250 + 100);
        assert!((0..=6_900).contains(&(took - whole)), "{calls} calls took {took} ms, whole windows {whole} ms");
        println!("{calls} calls: {took} ms, {:.3} of GHL's", took as f64 / ((calls - 1) / 100 * 10_000) as f64);
    }
}

#[test]
fn webhooks_wait_for_the_next_slots_and_not_for_the_run() {
    let steady: Vec<i64> = (0..50).map(|n| 1_000 + n * 2_000).collect();
    assert_eq!(run(2_000, 100, &steady).1, 0, "one every two seconds never waits");
    let at_once = [vec![20_500; 30], vec![44_000; 30]].concat();
    let (_, slowest) = run(2_000, 100, &at_once);
    println!("thirty at once: {slowest} ms");
    assert!(slowest < 5_000, "{slowest} ms");
}

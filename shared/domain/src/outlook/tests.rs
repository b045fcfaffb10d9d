use proptest::prelude::*;

use super::*;

fn idle(max: i64) -> Outlook {
    Outlook { max, window_ms: 10_000, ..Outlook::default() }
}

fn bulk(calls: i64, age_ms: i64) -> Grant {
    Grant { is_bulk: true, calls, age_ms, left_ms: 10_250 - age_ms }
}

fn others(calls: i64, age_ms: i64) -> Grant {
    Grant { is_bulk: false, calls, age_ms, left_ms: 10_000 - age_ms }
}

/// The same so much later, if nothing happens meanwhile.
fn later(outlook: &Outlook, ms: i64) -> Outlook {
    let grants =
        outlook.grants.iter().map(|grant| Grant { age_ms: grant.age_ms + ms, left_ms: grant.left_ms - ms, ..*grant });
    Outlook { grants: grants.collect(), closed_ms: (outlook.closed_ms - ms).max(0), ..outlook.clone() }
}

#[test]
fn what_one_window_holds_passes_at_once_and_the_rest_when_the_window_is_over() {
    let idle = idle(100);
    assert_eq!((idle.last_call_ms(0), idle.last_call_ms(98)), (Some(0), Some(0)));
    assert_eq!(idle.last_call_ms(99), Some(10_150));
    assert_eq!(idle.last_call_ms(150), Some(10_150));
    // 98 were granted 4 s ago, and 2 are webhooks'.
    let used = Outlook { grants: vec![bulk(98, 4_000)], ..idle };
    assert_eq!((used.next_call_ms(52), used.last_call_ms(52)), (Some(6_250), Some(6_250)));
    let calls_of_others = Outlook { grants: vec![others(90, 9_000)], ..used };
    assert_eq!((calls_of_others.next_call_ms(20), calls_of_others.last_call_ms(20)), (Some(0), Some(1_000)));
}

#[test]
fn a_run_takes_a_third_of_the_maximum_in_a_third_of_a_window_unless_it_is_nearly_done() {
    let used = Outlook { grants: vec![bulk(33, 1_000)], ..idle(100) };
    assert_eq!(used.next_call_ms(500), Some(2_333));
    assert_eq!(used.next_call_ms(150), Some(0));
    // Ten whole windows, and their gaps.
    let whole = idle(100).last_call_ms(1_078).unwrap();
    assert!((100_000..=110_000).contains(&whole), "{whole}");
}

#[test]
fn what_webhooks_ask_for_is_left_to_them_for_two_seconds() {
    let asking = Outlook { asked: 20, ..idle(100) };
    assert_eq!((asking.last_call_ms(79), asking.last_call_ms(80)), (Some(0), Some(2_000)));
}

#[test]
fn after_a_429_nothing_passes_until_the_limit_opens() {
    let closed = Outlook { closed_ms: 7_000, ..idle(100) };
    assert_eq!((closed.next_call_ms(1), closed.last_call_ms(98)), (Some(7_000), Some(7_000)));
}

#[test]
fn a_run_that_leaves_calls_unused_is_held_up_by_something_else() {
    let thirds = |calls: i64| (0..6).map(|third| bulk(calls, 1_000 + third * 3_450)).collect();
    let limited = Outlook { grants: thirds(33), ..idle(100) };
    assert!([1_000, 14_000, 60_000].iter().all(|elapsed| !limited.is_not_used_up(50, *elapsed)));
    // The next third is about to be taken.
    let late = Outlook { grants: limited.grants.iter().skip(1).copied().collect(), ..limited };
    assert!([1_000, 14_000, 60_000].iter().all(|elapsed| !late.is_not_used_up(50, *elapsed)));
    let slow = Outlook { grants: thirds(15), ..idle(100) };
    assert_eq!(
        [1_000, 14_000, 60_000].map(|elapsed| slow.is_not_used_up(50, elapsed)),
        [false, true, true],
        "it had just begun"
    );
    assert_eq!(
        [14_000, 60_000].map(|elapsed| slow.is_not_used_up(0, elapsed)),
        [false, true],
        "it has nothing to take"
    );
    assert!(idle(100).is_not_used_up(50, 60_000), "nothing moves");
    assert!(!Outlook { closed_ms: 1, ..idle(100) }.is_not_used_up(50, 60_000), "nothing may");
    let beside_others =
        Outlook { grants: [slow.grants, vec![others(50, 1_000), others(50, 11_000)]].concat(), ..idle(100) };
    assert!(!beside_others.is_not_used_up(50, 60_000), "others leave it no more");
}

#[test]
fn what_other_apps_call_in_each_window_they_will_go_on_calling() {
    let mut grants = vec![others(48, 1_000), others(48, 11_000)];
    assert_eq!(Outlook { grants: grants.clone(), ..idle(100) }.last_call_ms(98), Some(10_150));
    grants.pop();
    assert_eq!(Outlook { grants, ..idle(100) }.last_call_ms(98), Some(9_000), "once is no habit");
}

fn grants() -> impl Strategy<Value = Vec<Grant>> {
    let grant = (any::<bool>(), 0..120_i64, 0..25_000_i64, 10_000..13_500_i64);
    let grant =
        grant.prop_map(|(is_bulk, calls, age_ms, taken)| Grant { is_bulk, calls, age_ms, left_ms: taken - age_ms });
    prop::collection::vec(grant, 0..30)
}

fn outlooks() -> impl Strategy<Value = Outlook> {
    let orders = (0..300_u64, 0..300_u64);
    (1..300_i64, 0..12_000_i64, 0..50_i64, orders, grants()).prop_map(
        |(max, closed_ms, asked, (dispatched, awaited), grants)| Outlook {
            max,
            window_ms: 10_000,
            closed_ms,
            asked,
            dispatched,
            awaited,
            grants,
        },
    )
}

proptest! {
    #[test]
    fn property_the_last_call_never_passes_before_the_next_one_nor_more_calls_earlier(
        outlook in outlooks(), calls in 1..100_000_u64, more in 0..1_000_u64,
    ) {
        // The limit lets everything pass in the end.
        let (next, last) = (outlook.next_call_ms(calls).unwrap(), outlook.last_call_ms(calls).unwrap());
        prop_assert!(last >= next);
        // While there is much to do a run takes its share of each third of a window, so that a few calls more may change the shares.
        let with_more = outlook.last_call_ms(calls + more).unwrap();
        prop_assert!(with_more + 10_000 >= last, "{last} and {with_more}");
    }

    #[test]
    fn property_while_nothing_happens_the_time_left_runs_down_with_the_clock(
        outlook in outlooks(), calls in 1..5_000_u64, ms in 1..10_000_i64,
    ) {
        // What webhooks have asked for is remembered from when it was asked, and what others are used to do from two windows.
        let grants = outlook.grants.iter().filter(|grant| grant.is_bulk).copied().collect();
        let outlook = Outlook { asked: 0, grants, ..outlook };
        let wait = outlook.next_call_ms(calls).unwrap();
        prop_assume!(wait >= ms);
        let (before, after) = (outlook.last_call_ms(calls), later(&outlook, ms).last_call_ms(calls));
        prop_assert_eq!(before, after.map(|after| after + ms));
    }
}

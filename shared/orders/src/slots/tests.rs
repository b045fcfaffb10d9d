use std::time::Duration;

use database::Lane;

use super::world::{GHL_LATENCY, Way, World};

const fn far(round_trip_ms: u64) -> Way {
    Way { round_trip: Duration::from_millis(round_trip_ms), slower: None, loses: 0.0, lost: &[], pause: None }
}

/// The time in which GHL's limit alone lets so many calls end.
fn by_ghl(calls: usize) -> Duration {
    GHL_LATENCY + Duration::from_secs(10) * u32::try_from((calls - 1) / 100).unwrap()
}

/// A run of so many calls by one worker. Returns how long it took.
async fn run(way: Way, calls: usize) -> (World, Duration) {
    let world = World::new(&[way], calls).await;
    let (read, took) = world.fetch(0, Lane::Bulk, calls).await;
    assert_eq!((read, world.sent()), (calls, calls), "each is fetched once");
    assert!(world.fullest() <= 100, "{} calls in 10 s", world.fullest());
    let share = took.as_secs_f64() / by_ghl(calls).as_secs_f64();
    println!(
        "{:?} away: {calls} calls in {took:?}, {share:.3} of GHL's; {} asks",
        way.round_trip,
        world.calls("acquire_slots")
    );
    (world, took)
}

#[tokio::test(start_paused = true)]
async fn the_limit_is_used_from_any_distance() {
    for (round_trip_ms, calls, most) in [(40, 1_024, 1.08), (40, 5_069, 1.08), (300, 1_024, 1.13), (600, 1_024, 1.21)] {
        let (world, took) = run(far(round_trip_ms), calls).await;
        assert!(took <= by_ghl(calls).mul_f64(most), "{round_trip_ms} ms away: {took:?}");
        assert_eq!(world.calls("hand_back_slots"), 0, "no grant was late");
    }
}

#[tokio::test(start_paused = true)]
async fn a_pause_of_the_database_costs_what_it_lasts() {
    for round_trip_ms in [40, 300] {
        let (_, usual) = run(far(round_trip_ms), 1_024).await;
        for from_ms in (20_000..32_000).step_by(1_700) {
            let from = Duration::from_millis(from_ms);
            let pause = Some((from, from + Duration::from_secs(2)));
            let (_, took) = run(Way { pause, ..far(round_trip_ms) }, 1_024).await;
            let two_calls = 2 * Duration::from_millis(round_trip_ms);
            assert!(took <= usual + Duration::from_secs(2) + two_calls, "from {from:?} {took:?} instead of {usual:?}");
        }
    }
}

#[tokio::test(start_paused = true)]
async fn slow_and_lost_answers_break_no_limit_and_waste_little() {
    let slower = Some((0.05, Duration::from_secs(1)));
    for round_trip_ms in [40, 300, 600] {
        let (_, took) = run(Way { slower, loses: 0.05, ..far(round_trip_ms) }, 2_048).await;
        assert!(took <= by_ghl(2_048).mul_f64(1.5), "{took:?}");
    }
}

/// The far one may send later than the near one, and each of them takes its slots as long as itself may.
#[tokio::test(start_paused = true)]
async fn near_and_far_workers_share_the_limit() {
    let slower = Some((0.05, Duration::from_millis(700)));
    let ways = [far(40), Way { slower, ..far(600) }, Way { slower, loses: 0.05, ..far(1_200) }];
    let world = World::new(&ways, 1_200).await;
    let fetch = |worker| world.fetch(worker, Lane::Bulk, 400);
    let ((near, _), (far, _), (farther, took)) = tokio::join!(fetch(0), fetch(1), fetch(2));
    assert_eq!((near, far, farther), (400, 400, 400));
    assert!(world.fullest() <= 100, "{} calls in 10 s", world.fullest());
    println!("1,200 calls by three workers in {took:?}");
}

#[tokio::test(start_paused = true)]
async fn a_lost_answer_costs_no_slots() {
    // The one to the first ask after the connection was made and the distance measured.
    let way = Way { lost: &[2], ..far(40) };
    let world = World::new(&[way], 90).await;
    let (read, took) = world.fetch(0, Lane::Priority, 90).await;
    assert_eq!((read, world.sent()), (90, 90));
    assert!(took < Duration::from_secs(10), "one window holds them all: {took:?}");
    assert_eq!(world.calls("acquire_slots"), 4);
}

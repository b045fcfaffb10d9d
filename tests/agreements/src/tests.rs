use std::time::Duration;

use database::{IDLE_RESERVE, Limits, RunSettings};
use domain::failure::MAX_RECEIVES;
use domain::frames::FRAMES_PER_PUBLICATION;
use domain::listing::{OVERLAP, PAGE_SIZE};
use domain::rate;
use domain::run::{LONGEST_LISTING, PULSE_CLAIM, PULSE_LOST_AFTER};
use queues::MOST_TOGETHER;

use crate::{Sql, Template, leading_number, text};

fn milliseconds(time: Duration) -> f64 {
    time.as_secs_f64() * 1000.0
}

/// A number stands behind each of these texts, and it is this one.
fn assert_says(file: &str, before: &str, number: f64) {
    for said in Sql::read(file).numbers(before) {
        assert_eq!(said, number, "{file}, behind {before:?}");
    }
}

#[test]
fn a_publication_has_as_many_sequence_numbers_as_frames() {
    let frames = FRAMES_PER_PUBLICATION as f64;
    let blocks = Sql::read("publications.sql").numbers("set seq = seq + ");
    // A snapshot's one frame, and a publication's block.
    assert_eq!(blocks, [1.0, frames]);
    assert_eq!(Sql::read("publications.sql").numbers("v_seq - "), [frames - 1.0; 2], "the first of the block");
}

#[test]
fn a_pulse_is_claimed_as_long_as_its_function_may_take_and_not_longer_than_it_is_hidden() {
    let template = Template::read();
    assert_eq!(template.timeout("RunWorkerFunction"), PULSE_CLAIM.as_secs());
    let hidden = template.at(&["Resources", "RunsQueue"]).number("VisibilityTimeout");
    assert!(hidden > PULSE_CLAIM.as_secs(), "a pulse would be redelivered while it is claimed");
    assert!(LONGEST_LISTING < PULSE_CLAIM);
}

#[test]
fn queues_hide_a_message_six_times_as_long_as_its_function_may_take_and_give_it_up_after_five_receives() {
    let template = Template::read();
    let readers = [
        ("OrdersQueue", "OrderWorkerFunction"),
        ("OrdersBulkQueue", "OrderWorkerFunction"),
        ("TicketsQueue", "TicketsFunction"),
        ("RunsQueue", "RunWorkerFunction"),
    ];
    for (queue, function) in readers {
        let section = template.at(&["Resources", queue]);
        assert_eq!(section.number("maxReceiveCount"), u64::from(MAX_RECEIVES), "{queue}");
        assert_eq!(section.number("VisibilityTimeout"), 6 * template.timeout(function), "{queue}");
    }
    let queues = template.at(&["Resources"]).names("Queue");
    assert_eq!(queues.len(), readers.len() + 1, "one queue takes the dead letters of all: {queues:?}");
}

#[test]
fn a_run_has_the_same_times_everywhere() {
    let RunSettings { cooldown, lease, publish_interval } = RunSettings::DEFAULT;
    let template = Template::read();
    assert_eq!(template.at(&["Parameters", "CooldownSeconds"]).number("Default"), cooldown.as_secs());
    for (column, time) in [("cooldown_ms", cooldown), ("lease_ms", lease), ("publish_interval_ms", publish_interval)] {
        assert_says("tables.sql", &format!("{column} bigint not null default "), milliseconds(time));
        assert_says("runs.sql", &format!("(request ->> '{column}')::bigint, "), milliseconds(time));
    }
    assert_says("publications.sql", "(request ->> 'pulse_lost_after_ms')::numeric, ", milliseconds(PULSE_LOST_AFTER));
}

#[test]
fn the_limit_is_the_same_for_the_limiter_the_template_and_the_fake_ghl() {
    let limits = Limits::DEFAULT;
    let template = Template::read();
    assert_eq!(template.at(&["Parameters", "RateLimitMax"]).number("Default"), u64::from(limits.max));
    assert_says("limiter.sql", "greatest(s.free - greatest(", f64::from(IDLE_RESERVE));

    let fake = fake_ghl::Options::default();
    assert_eq!(fake.rate_max, u64::from(rate::CALLS_PER_WINDOW));
    assert_eq!(Duration::from_millis(fake.rate_window_ms), rate::WINDOW);
    assert_eq!(fake.rate_daily, rate::CALLS_PER_DAY);
    // An alarm's parameter says of how many.
    assert_eq!(template.at(&["Parameters", "DailyBudgetLow"]).after("daily budget ("), rate::CALLS_PER_DAY);
    assert!(u64::from(limits.daily_reserve) < rate::CALLS_PER_DAY);
}

#[test]
fn redrive_sends_orders_as_fast_as_runs_may_fetch_them() {
    let redrive = text("infra/xtask/src/operate/redrive.rs");
    let behind = redrive.split_once("const PER_BATCH: Duration = Duration::from_millis(").map(|(_, behind)| behind);
    let per_ten_orders = behind.and_then(|behind| leading_number(&behind.replacen('_', "", 1)));
    let limits = Limits::DEFAULT;
    let fastest = 10.0 * f64::from(limits.window_ms + limits.margin_ms) / f64::from(limits.bulk_window());
    let slower = per_ten_orders.map(|per_ten_orders| per_ten_orders - fastest);
    assert!(slower.is_some_and(|slower| (0.0..10.0).contains(&slower)), "{per_ten_orders:?} ms, {fastest} ms");
}

/// What a run may send in a window goes to as many workers as there are at once; an order that is sent alone is alone.
#[test]
fn a_message_about_several_orders_is_a_batch() {
    let bulk = ["Resources", "OrderWorkerFunction", "Properties", "Events", "OrdersBulk"];
    let (template, window) = (Template::read(), u64::from(Limits::DEFAULT.bulk_window()));
    let bulk = template.at(&bulk);
    assert_eq!(bulk.number("BatchSize"), 1);
    assert!(bulk.number("MaximumConcurrency") * MOST_TOGETHER as u64 >= window);
}

#[test]
fn a_scheduled_start_reckons_with_the_pages_that_a_run_lists() {
    // Two listings, of all orders and of refunds, of which each page brings what it doesn't share with the one before.
    let orders_per_call = f64::from(PAGE_SIZE - OVERLAP) / 2.0;
    assert_says("runs.sql", "n.listed / ", orders_per_call);
}

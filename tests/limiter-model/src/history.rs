//! What callers, other apps and clocks may do.

use proptest::prelude::*;

use crate::{Lane, Limits};

/// Something that happens.
#[derive(Debug, Clone)]
pub enum Act {
    /// Nothing, for so many milliseconds.
    Pass(i64),
    /// The database's clock is set back by so many milliseconds.
    SetBack(i64),
    /// Other apps call GHL.
    Others {
        /// Whose limit they use.
        location: usize,
        /// How many calls.
        calls: i64,
    },
    /// Somebody asks.
    Ask {
        /// For which location.
        location: usize,
        /// Who.
        lane: Lane,
        /// How many calls.
        wanted: i64,
        /// Calls that the run has still to make.
        remaining: Option<i64>,
        /// The caller's margin in milliseconds.
        margin_ms: i64,
        /// Whether the caller tells what it has seen of GHL, and how long that call took, in milliseconds.
        tells: Option<i64>,
        /// What becomes of the answer.
        fate: Fate,
    },
    /// A pulse looks what is free.
    Peek {
        /// For which location.
        location: usize,
        /// How many calls its run wants.
        wanted: i64,
    },
}

/// What a caller does with an answer. Times are in thousandths of its margin, counted from its first ask.
#[derive(Debug, Clone)]
pub enum Fate {
    /// Sends all of it then.
    Used(i64),
    /// Sends all of it then, but for so many that it hands back as often as this.
    PartlyUsed {
        /// When the others are sent.
        at: i64,
        /// Handed back.
        unused: i64,
        /// When.
        back_at: i64,
        /// How often.
        times: u8,
    },
    /// The answer is lost. It asks again with the same id, and sends what it gets.
    Lost {
        /// When it asks again, maybe several times.
        again_at: Vec<i64>,
        /// When it sends, if an answer has come before its margin was over; else it hands back.
        at: i64,
    },
    /// The caller dies, before or after it has sent.
    Dies(Option<i64>),
}

/// How many locations a history has.
pub const LOCATIONS: usize = 3;

/// The limit in histories.
pub fn limits() -> impl Strategy<Value = Limits> {
    (prop_oneof![1..8_i64, 8..40_i64], prop_oneof![Just(10_000_i64), 300..2_000_i64])
        .prop_map(|(max, window_ms)| Limits { max, window_ms, daily_reserve: 0 })
}

/// Histories of so many acts.
pub fn acts(count: usize) -> impl Strategy<Value = Vec<Act>> {
    prop::collection::vec(act(), count)
}

fn act() -> impl Strategy<Value = Act> {
    prop_oneof![
        6 => prop_oneof![0..50_i64, 0..1_500_i64, 0..12_000_i64].prop_map(Act::Pass),
        1 => (0..8_000_i64).prop_map(Act::SetBack),
        1 => (0..LOCATIONS, 1..12_i64).prop_map(|(location, calls)| Act::Others { location, calls }),
        12 => ask(),
        1 => (0..LOCATIONS, 0..60_i64).prop_map(|(location, wanted)| Act::Peek { location, wanted }),
    ]
}

fn ask() -> impl Strategy<Value = Act> {
    let wanted = prop_oneof![3 => 1..4_i64, 1 => 0..60_i64];
    let lane = prop_oneof![Just(Lane::Bulk), Just(Lane::Priority)];
    let remaining = prop_oneof![Just(None), (0..200_i64).prop_map(Some)];
    let margin_ms = prop_oneof![2 => Just(250_i64), 1 => 0..3_000_i64, 1 => Just(3_000)];
    let tells = prop_oneof![Just(None), (0..2_000_i64).prop_map(Some)];
    (0..LOCATIONS, lane, wanted, remaining, margin_ms, tells, fate()).prop_map(
        |(location, lane, wanted, remaining, margin_ms, tells, fate)| Act::Ask {
            location,
            lane,
            wanted,
            remaining,
            margin_ms,
            tells,
            fate,
        },
    )
}

fn fate() -> impl Strategy<Value = Fate> {
    // The ends of the margin are where the limit is broken, if it is.
    let at = || prop_oneof![Just(0_i64), Just(1_000_i64), 0..1_000_i64];
    prop_oneof![
        4 => at().prop_map(Fate::Used),
        2 => (at(), 1..5_i64, 0..6_000_i64, 1..3_u8)
            .prop_map(|(at, unused, back_at, times)| Fate::PartlyUsed { at, unused, back_at, times }),
        2 => (prop::collection::vec(0..4_000_i64, 1..3), at())
            .prop_map(|(again_at, at)| Fate::Lost { again_at, at }),
        1 => prop_oneof![Just(None), at().prop_map(Some)].prop_map(Fate::Dies),
    ]
}

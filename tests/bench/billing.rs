//! What Lambda would bill: how long the functions ran, how many at the same time, and how much of it they computed.

use std::time::{SystemTime, UNIX_EPOCH};

use agreements::Template;
use tests::invocations::{self, Invocation, most_at_once, seconds_within};
use tests::world::World;

use crate::processes::cpu_seconds;

/// Those that queues invoke.
const BEHIND_QUEUES: [&str; 4] = ["order-worker", "tickets", "run-worker", "dead-letters"];

/// Runs since it was made.
pub(crate) struct Meter {
    began: f64,
    cpu_seconds: f64,
}

/// What there was on the meter.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Billed {
    /// Of all functions.
    pub(crate) gb_seconds: f64,
    /// Of these, those in which a function computed: the others it waited for GHL, the database, queues and the limit.
    pub(crate) computed_gb_seconds: f64,
    /// Invocations behind queues at the same time.
    pub(crate) mean_at_once: f64,
    pub(crate) most_at_once: usize,
}

fn now() -> f64 {
    SystemTime::now().duration_since(UNIX_EPOCH).expect("a clock after 1970").as_secs_f64()
}

impl Meter {
    pub(crate) async fn start(world: &World) -> Self {
        invocations::forget(&world.stack).await;
        Self { began: now(), cpu_seconds: cpu_seconds(world) }
    }

    pub(crate) async fn read(&self, world: &World) -> Billed {
        let (from, to) = (self.began, now());
        let computed = (cpu_seconds(world) - self.cpu_seconds).max(0.0);
        let all = invocations::noted(&world.stack).await;
        let template = Template::read();
        let gb = |function: &str| template.memory_mb(template.function_of(function)) as f64 / 1024.0;
        let seconds = seconds_within(&all, from, to);
        let gb_seconds: f64 =
            all.iter().map(|invocation| seconds_within([invocation], from, to) * gb(&invocation.function)).sum();
        let behind: Vec<&Invocation> =
            all.iter().filter(|invocation| BEHIND_QUEUES.contains(&invocation.function.as_str())).collect();
        Billed {
            gb_seconds,
            // The processor's time is known of all functions together.
            computed_gb_seconds: if seconds > 0.0 { (computed / seconds).min(1.0) * gb_seconds } else { 0.0 },
            mean_at_once: seconds_within(behind.iter().copied(), from, to) / (to - from).max(0.001),
            most_at_once: most_at_once(behind.iter().copied(), from, to),
        }
    }
}

impl Billed {
    /// Why a run was billed for so long, as far as it can be told.
    pub(crate) fn told(&self) -> String {
        let share = 100.0 * self.computed_gb_seconds / self.gb_seconds.max(0.001);
        format!("of {:.1} GB-s functions computed in {share:.0} % and waited in the others", self.gb_seconds)
    }
}

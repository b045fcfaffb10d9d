//! Random histories of one order against a model: GHL edits it, reads arrive late, twice or out of order, workers die
//! between two steps, people scan and cancel. At rest the tickets must be what the model says.
//!
//! `TEST_HISTORIES` sets how many (default 300), `TEST_SEED` repeats them; a failing history prints its seed.

mod model;
mod play;

use tokio::task::JoinSet;

use crate::harness::TestDatabase;

fn from_environment(name: &str) -> Option<u64> {
    std::env::var(name).ok().map(|text| text.parse().unwrap_or_else(|_| panic!("{name} must be a number: {text}")))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn tickets_are_right_after_any_history() {
    let histories = from_environment("TEST_HISTORIES").unwrap_or(300);
    let first_seed = from_environment("TEST_SEED").unwrap_or_else(|| u64::from(rand::random::<u32>()));
    println!("{histories} histories from seed {first_seed}");

    let database = TestDatabase::new().await;
    let mut players = JoinSet::new();
    let workers = 4;
    for worker in 0..workers {
        let server = database.another_server().await;
        players.spawn(async move {
            for seed in (first_seed..first_seed + histories).filter(|seed| seed % workers == worker) {
                play::play(&server, seed).await;
            }
        });
    }
    players.join_all().await;
    crate::orders::assert_in_step(&database).await;
}

//! Awaiting a condition with a limit.

use std::time::Duration;

use tokio::time::{Instant, sleep, timeout};

/// What follows at once, with queues between: a webhook's order, a frame, a document.
pub const A_MOMENT: Duration = Duration::from_secs(15);
/// A run of some dozen orders: up to three windows of the rate limit, 10 s each, and [`A_MOMENT`].
pub const A_SMALL_RUN: Duration = Duration::from_secs(45);
/// A full run of 162 orders: three windows of the rate limit.
pub const A_RUN: Duration = Duration::from_secs(90);
/// The cool-down and the pulse that ends it.
pub const A_COOLDOWN: Duration = Duration::from_secs(45);

/// No single look takes longer, also where a server hangs.
const A_LOOK: Duration = Duration::from_secs(90);

/// Looks again and again until `look` is content. Panics with what it saw last, when its patience ends.
pub async fn until<T>(what: &str, patience: Duration, mut look: impl AsyncFnMut() -> Result<T, String>) -> T {
    let deadline = Instant::now() + patience;
    loop {
        let seen = timeout(A_LOOK, look()).await.unwrap_or_else(|_| panic!("{what}: a look at it hangs"));
        match seen {
            Ok(found) => return found,
            Err(seen) if Instant::now() >= deadline => panic!("{what}: not within {patience:?}; last seen: {seen}"),
            Err(_) => sleep(Duration::from_millis(100)).await,
        }
    }
}

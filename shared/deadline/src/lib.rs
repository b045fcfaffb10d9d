//! The end of an invocation, before Lambda's.
//!
//! Lambda stops a function whose time is up: its caller gets a bare 5xx, its last metrics are lost, and the next invocation
//! starts cold. So each function gives up a second earlier, whatever it is waiting for.

use std::time::{Duration, Instant, SystemTime};

/// The time that is left for the answer and for printing metrics.
pub const RESERVE: Duration = Duration::from_secs(1);

/// The work wasn't done in time. It was dropped where it stood, as Lambda would have done.
#[derive(Debug, thiserror::Error)]
#[error("the invocation's time is up: something it waits for doesn't answer")]
pub struct TimeIsUp;

/// The moment `reserve` before Lambda ends the invocation; now, if that has passed.
#[must_use]
pub fn before(lambda_ends_at: SystemTime, reserve: Duration) -> Instant {
    let left = lambda_ends_at.duration_since(SystemTime::now()).unwrap_or_default();
    Instant::now() + left.saturating_sub(reserve)
}

/// Does the work of an invocation whose answer can't say that it is late: Lambda gets an error instead, and a queue or a
/// schedule delivers the event again, as after any other error. Logs it.
///
/// # Errors
/// [`TimeIsUp`], [`RESERVE`] before Lambda ends the invocation.
pub fn in_time<W: Future>(
    lambda_ends_at: SystemTime,
    work: W,
) -> impl Future<Output = Result<W::Output, TimeIsUp>> + use<W> {
    // Boxed: each layer around a future doubles its size, and a worker's is large already.
    let work = Box::pin(work);
    async move {
        tokio::time::timeout_at(before(lambda_ends_at, RESERVE).into(), work).await.map_err(|_elapsed| {
            tracing::error!(error = %TimeIsUp, "An invocation was given up before its end");
            TimeIsUp
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn what_hangs_ends_before_lambda_does() {
        let begun = tokio::time::Instant::now();
        let lambda_ends_at = SystemTime::now() + Duration::from_secs(10);
        assert!(in_time(lambda_ends_at, std::future::pending::<()>()).await.is_err());
        let took = begun.elapsed();
        assert!(took > Duration::from_secs(8) && took < Duration::from_millis(9100), "{took:?}");
    }

    #[tokio::test]
    async fn what_is_done_in_time_is_answered() {
        let lambda_ends_at = SystemTime::now() + Duration::from_secs(10);
        assert!(matches!(in_time(lambda_ends_at, async { 7 }).await, Ok(7)));
    }

    #[test]
    fn a_time_that_has_passed_is_now() {
        let earlier = Instant::now();
        assert!(before(SystemTime::UNIX_EPOCH, RESERVE) >= earlier);
        assert!(before(SystemTime::UNIX_EPOCH, RESERVE) <= Instant::now());
    }
}

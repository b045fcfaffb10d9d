use std::{convert::Infallible, error::Error, panic::AssertUnwindSafe, time::Instant};

use futures::FutureExt;
use lambda_http::{Request, RequestExt, service_fn};
use tokio::time::timeout_at;

use crate::response::{Response, with_security_headers};
use crate::{ApiError, request};

/// Answers the gateway's requests with `handler` until Lambda stops the process. A request that isn't done when Lambda is
/// about to end its invocation is answered `timed_out`.
///
/// # Errors
/// When Lambda's runtime API can't be reached.
pub async fn serve<H, F>(handler: H) -> Result<(), lambda_http::Error>
where
    H: Fn(Request) -> F,
    F: Future<Output = Result<Response, ApiError>> + Send,
{
    lambda_http::run(service_fn(|request: Request| {
        let request_id = request::id(&request).to_owned();
        let context = request.lambda_context_ref();
        let lambda_id = context.map(|context| context.request_id.clone()).unwrap_or_default();
        let latest = context.map(|context| deadline::before(context.deadline(), deadline::RESERVE));
        // Boxed: each layer around a future doubles its size.
        let handling = in_time(latest, Box::pin(handler(request)));
        async move {
            let responding = respond(handling, &request_id);
            Ok::<_, Infallible>(telemetry::invocation(&lambda_id, Some(&request_id), responding).await)
        }
    }))
    .await
}

async fn in_time(
    latest: Option<Instant>,
    handling: impl Future<Output = Result<Response, ApiError>>,
) -> Result<Response, ApiError> {
    let Some(latest) = latest else { return handling.await };
    let handled = timeout_at(latest.into(), handling).await;
    handled.unwrap_or_else(|_elapsed| Err(ApiError::timed_out().caused_by(deadline::TimeIsUp)))
}

/// The answer to one request: what the handler makes, or the documented error body if it fails or panics. Failures of
/// ours are logged here, with their causes, unless the function has done that ([`ApiError::logged`]) or, for a panic, the panic hook.
pub async fn respond(handling: impl Future<Output = Result<Response, ApiError>>, request_id: &str) -> Response {
    let Ok(handled) = AssertUnwindSafe(handling).catch_unwind().await else {
        return ApiError::internal("the handler panicked").into_response(request_id);
    };
    match handled {
        Ok(response) => with_security_headers(response),
        Err(error) => {
            if error.is_logged() {
                // Once is enough.
            } else if error.status().is_server_error() {
                tracing::error!(
                    status = error.status().as_u16(),
                    code = error.code(),
                    causes = causes(&error),
                    "A request failed"
                );
            } else if error.source().is_some() {
                tracing::warn!(code = error.code(), causes = causes(&error), "A request was refused");
            }
            error.into_response(request_id)
        }
    }
}

/// The chain of causes in one line.
fn causes(error: &(dyn Error + 'static)) -> String {
    error.source().map(telemetry::chain).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use serde_json::Value;

    use super::*;

    #[tokio::test]
    async fn a_panic_is_an_internal_error() {
        let answer = respond(async { panic!("at the disco") }, "req-1").await;
        assert_eq!(answer.status(), 500);
        let body: Value = serde_json::from_slice(answer.body()).unwrap();
        assert_eq!((&body["code"], &body["requestId"]), (&Value::from("internal"), &Value::from("req-1")));
    }

    #[tokio::test(start_paused = true)]
    async fn what_hangs_is_answered_before_lambda_ends_it() {
        let (begun, time_left) = (tokio::time::Instant::now(), Duration::from_secs(29));
        let latest = Instant::now() + time_left;
        let answer = respond(in_time(Some(latest), std::future::pending()), "req-1").await;
        assert!(begun.elapsed() <= time_left + Duration::from_millis(10), "{:?}", begun.elapsed());
        let body: Value = serde_json::from_slice(answer.body()).unwrap();
        assert_eq!((answer.status().as_u16(), &body["code"]), (503, &Value::from("timed_out")));
        assert_eq!(answer.headers()["retry-after"], "5");
    }

    #[tokio::test]
    async fn every_answer_has_the_security_headers() {
        let bare = respond(async { Ok(Response::default()) }, "r").await;
        let refused = respond(async { Err(ApiError::no_route()) }, "r").await;
        for answer in [bare, refused] {
            assert_eq!(answer.headers()["x-content-type-options"], "nosniff");
        }
    }

    #[test]
    fn causes_stand_in_one_line() {
        assert_eq!(causes(&ApiError::internal(Outer(Inner))), "outer: inner");
    }

    #[derive(Debug, thiserror::Error)]
    #[error("outer")]
    struct Outer(#[source] Inner);

    #[derive(Debug, thiserror::Error)]
    #[error("inner")]
    struct Inner;
}

//! Checks size, signature, location and order ids in this order: the cheapest checks come first.

use std::time::Duration;

use domain::{Cause, LocationId};
use ghl::webhook::{Hint, NotUsable, VerifyError, WebhookKeys, order_ids};
use http_api::{ApiError, Request, Response, StatusCode, header, json};
use jiff::Timestamp;
use queues::{OrderMessage, Queue};
use serde_json::json;
use settings::{Env, Secret, SettingsError};
use telemetry::metrics::{self, Metric};
use tokio::time::timeout;

/// Largest body, in bytes. An order with hundreds of items is below 200 KB.
const MAX_BODY_BYTES: usize = 256 * 1024;
/// Longest wait until the answer: if Lambda stopped the function after its 10 s, GHL would get a 5xx, which it never repeats.
const ANSWER_WITHIN: Duration = Duration::from_secs(7);
/// GHL tries again about ten minutes after a 429.
const RETRY_AFTER: Duration = Duration::from_secs(60);

/// What webhooks are verified with.
pub(crate) struct Verification {
    public_keys: String,
    secret: Option<Secret>,
    secret_header: String,
}

impl Verification {
    /// `WEBHOOK_PUBLIC_KEYS`, `WEBHOOK_SHARED_SECRET`, `WEBHOOK_SECRET_HEADER`. Without any of them every webhook is refused.
    pub(crate) fn from_env(env: &Env) -> Result<Self, SettingsError> {
        let public_keys = env.optional("WEBHOOK_PUBLIC_KEYS").unwrap_or_default();
        WebhookKeys::new(&public_keys, None)
            .map_err(|problem| SettingsError::malformed("WEBHOOK_PUBLIC_KEYS", problem))?;
        let secret = Secret::optional(env, "WEBHOOK_SHARED_SECRET");
        if public_keys.is_empty() && secret.is_none() {
            tracing::warn!(
                "Neither WEBHOOK_PUBLIC_KEYS nor WEBHOOK_SHARED_SECRET is set: every webhook will be refused"
            );
        }
        let secret_header = env.optional("WEBHOOK_SECRET_HEADER").unwrap_or_else(|| "x-webhook-secret".to_owned());
        Ok(Self { public_keys, secret, secret_header })
    }

    async fn verify(&self, request: &Request) -> Result<(), Problem> {
        let text = |name: &str| request.headers().get(name).and_then(|value| value.to_str().ok());
        let verify = |secret| {
            let keys = WebhookKeys::new(&self.public_keys, secret).map_err(|_| VerifyError::NotConfigured)?;
            keys.verify(request.body(), text("x-ghl-signature"), text(&self.secret_header))
        };
        let verified = match (&self.secret, text(&self.secret_header)) {
            (Some(secret), Some(_)) => match verify(Some(secret.get().await.map_err(Problem::Secret)?)) {
                // The secret may just have been changed. It is read at most once in 5 s, however often somebody guesses.
                Err(VerifyError::WrongSecret) => verify(Some(secret.refresh().await.map_err(Problem::Secret)?)),
                verified => verified,
            },
            _ => verify(None),
        };
        verified.map_err(Problem::Unverified)
    }
}

enum Problem {
    Unverified(VerifyError),
    Secret(SettingsError),
}

/// The function's state.
pub(crate) struct Webhook {
    pub(crate) verification: Verification,
    pub(crate) location_id: LocationId,
    pub(crate) orders: Queue<OrderMessage>,
}

impl Webhook {
    /// Accepts, ignores or refuses; the refusals are counted here by their reason.
    pub(crate) async fn handle(&self, request: Request) -> Result<Response, ApiError> {
        let answer = timeout(ANSWER_WITHIN, self.accept(request)).await;
        // Some of its orders may be queued by now; queueing them twice does no harm.
        let answer =
            answer.unwrap_or_else(|_elapsed| Err(try_again().caused_by("SSM or SQS did not answer within 7 s")));
        if let Err(refusal) = &answer {
            let reason = match refusal.status() {
                StatusCode::UNAUTHORIZED => "unverified",
                StatusCode::TOO_MANY_REQUESTS => "unavailable",
                _ => "form",
            };
            metrics::count_by(Metric::WebhooksRefused, &[reason], 1);
        }
        answer
    }

    async fn accept(&self, request: Request) -> Result<Response, ApiError> {
        check_form(&request)?;
        match self.verification.verify(&request).await {
            Ok(()) => {}
            Err(Problem::Unverified(reason)) => {
                tracing::warn!(reason = %reason, "A webhook was refused");
                return Err(ApiError::new(
                    StatusCode::UNAUTHORIZED,
                    "unauthorized",
                    "The webhook could not be verified",
                ));
            }
            Err(Problem::Secret(error)) => return Err(try_again().caused_by(error)),
        }
        let order_ids = match order_ids(request.body(), &self.location_id, Timestamp::now()).map_err(not_usable)? {
            Hint::Orders(order_ids) => order_ids,
            Hint::Ignored => {
                return json(StatusCode::OK, &json!({ "message": "Ignored: the event is not about an order" }));
            }
        };
        let message = |id| OrderMessage::new(self.location_id.clone(), id, Cause::Webhook);
        let messages: Vec<_> = order_ids.into_iter().map(message).collect();
        self.orders.send_all(&messages).await.map_err(|error| try_again().caused_by(error))?;
        metrics::count(Metric::WebhooksAccepted, 1);
        tracing::info!(orders = messages.len(), "A webhook was accepted");
        json(StatusCode::ACCEPTED, &json!({ "message": "Accepted", "orders": messages.len() }))
    }
}

/// 429 is the only answer that GHL retries.
fn try_again() -> ApiError {
    let message = "The webhook could not be queued; please send it again";
    ApiError::new(StatusCode::TOO_MANY_REQUESTS, "queue_unavailable", message).retry_after(RETRY_AFTER)
}

fn check_form(request: &Request) -> Result<(), ApiError> {
    if request.body().len() > MAX_BODY_BYTES {
        return Err(ApiError::bad_request("body_too_large", "The body is over 256 KB"));
    }
    let form =
        request.headers().get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or("application/json");
    let kind = form.split(';').next().unwrap_or_default().trim().to_ascii_lowercase();
    if kind == "application/json" || kind.ends_with("+json") {
        Ok(())
    } else {
        Err(ApiError::bad_request("invalid_body", "The body must be JSON (Content-Type: application/json)"))
    }
}

fn not_usable(problem: NotUsable) -> ApiError {
    let code = match problem {
        NotUsable::NotAnObject => "invalid_body",
        NotUsable::OtherLocation => "other_location",
        NotUsable::OutsideWindow => "outside_window",
        NotUsable::NoOrder => "no_order",
        NotUsable::TooManyOrders => "too_many_orders",
    };
    ApiError::bad_request(code, problem.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn with(body: &str, content_type: &str) -> Request {
        let mut request = Request::new(http_api::Body::Text(body.to_owned()));
        request.headers_mut().insert(header::CONTENT_TYPE, content_type.parse().unwrap());
        request
    }

    #[test]
    fn forms_are_refused_before_anything_else() {
        assert!(check_form(&with("{}", "application/json; charset=utf-8")).is_ok());
        assert!(check_form(&with("{}", "application/cloudevents+json")).is_ok());
        assert_eq!(check_form(&with("{}", "text/plain")).unwrap_err().code(), "invalid_body");
        assert_eq!(
            check_form(&with(&" ".repeat(MAX_BODY_BYTES + 1), "application/json")).unwrap_err().code(),
            "body_too_large"
        );
    }

    #[test]
    fn a_malformed_key_stops_the_function_by_name() {
        let error = Verification::from_env(&Env::of([("WEBHOOK_PUBLIC_KEYS", "AAAA")])).err().unwrap();
        assert!(error.to_string().contains("WEBHOOK_PUBLIC_KEYS"), "{error}");
    }

    /// A port that takes connections, as the system does for it, and never answers; and its URL.
    fn silent() -> (std::net::TcpListener, String) {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        (listener, url)
    }

    /// Its clients have no time-out of their own, so that the handler's is tested.
    fn webhook(secret: Option<Secret>, sqs_url: &str) -> Webhook {
        let sqs = aws_sdk_sqs::Config::builder()
            .behavior_version(aws_sdk_sqs::config::BehaviorVersion::latest())
            .http_client(http_client::for_aws())
            .region(aws_sdk_sqs::config::Region::new("us-east-1"))
            .credentials_provider(aws_sdk_sqs::config::Credentials::new("test", "test", None, None, "test"))
            .endpoint_url(sqs_url)
            .build();
        Webhook {
            verification: Verification {
                public_keys: String::new(),
                secret,
                secret_header: "x-webhook-secret".to_owned(),
            },
            location_id: LocationId::try_new("loc").unwrap(),
            orders: Queue::new(aws_sdk_sqs::Client::from_conf(sqs), format!("{sqs_url}/000000000000/orders")),
        }
    }

    fn in_ssm(ssm_url: &str) -> Secret {
        let ssm = aws_sdk_ssm::Config::builder()
            .behavior_version(aws_sdk_ssm::config::BehaviorVersion::latest())
            .http_client(http_client::for_aws())
            .region(aws_sdk_ssm::config::Region::new("us-east-1"))
            .credentials_provider(aws_sdk_ssm::config::Credentials::new("test", "test", None, None, "test"))
            .endpoint_url(ssm_url)
            .build();
        Secret::parameter("WEBHOOK_SHARED_SECRET", "/secret", aws_sdk_ssm::Client::from_conf(ssm))
    }

    #[tokio::test]
    async fn when_ssm_or_sqs_hangs_the_answer_is_429_within_eight_seconds() {
        let (_listener, url) = silent();
        let secret = "an invented secret";
        let body =
            json!({"location": {"id": "loc"}, "customData": {"order_id": "660000000000000000000001"}}).to_string();
        let ssm_hangs = webhook(Some(in_ssm(&url)), &url);
        let sqs_hangs = webhook(Some(Secret::fixed("WEBHOOK_SHARED_SECRET", secret)), &url);
        for (what, webhook) in [("SSM", ssm_hangs), ("SQS", sqs_hangs)] {
            let mut request = with(&body, "application/json");
            request.headers_mut().insert("x-webhook-secret", secret.parse().unwrap());
            // Nothing else can happen, so the clock goes to the next time-out at once.
            tokio::time::pause();
            let begun = tokio::time::Instant::now();
            let answering = timeout(Duration::from_secs(60), http_api::respond(webhook.handle(request), "req-1"));
            let answer = answering.await.unwrap_or_else(|_| panic!("{what} hangs, and there is no answer"));
            let took = begun.elapsed();
            tokio::time::resume();
            assert_eq!(answer.status(), 429, "{what}");
            assert_eq!(answer.headers()["retry-after"], "60", "{what}");
            assert!(took >= ANSWER_WITHIN && took <= Duration::from_secs(8), "{what}: {took:?}");
        }
    }

    #[tokio::test]
    async fn nothing_configured_refuses_everything() {
        let verification = Verification::from_env(&Env::of::<&str, &str>([])).unwrap();
        for headers in [vec![], vec![("x-webhook-secret", "")], vec![("x-ghl-signature", "AAAA")]] {
            let mut request = with("{}", "application/json");
            for (name, value) in headers {
                request.headers_mut().insert(name, value.parse().unwrap());
            }
            assert!(verification.verify(&request).await.is_err());
        }
    }
}

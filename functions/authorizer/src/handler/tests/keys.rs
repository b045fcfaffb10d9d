//! What callers get while Supabase's keys change, or can't be read. The clock is moved, not waited for.

use std::{sync::Arc, time::Duration};

use tokio::{sync::Notify, time};

use super::*;
use crate::keys::KeyError;

/// As in template.yaml: what takes longer is cut off by Lambda, and is then an outage of ours.
const FUNCTION_TIMEOUT: Duration = Duration::from_secs(10);

const DAY: u64 = 24 * 60 * 60;

/// Moves the clock. It stands still only for that: were it left so, it would run through every time-out while an answer
/// is under way.
async fn later(seconds: u64) {
    time::pause();
    time::advance(Duration::from_secs(seconds)).await;
    time::resume();
}

/// Why the holder of this token can't be authenticated. Panics if there is an answer.
async fn unavailable(authorizer: &Authorizer, token: &str) -> KeyError {
    let error = authorizer.answer(http_event(&format!("Bearer {token}"))).await.expect_err("neither yes nor no");
    *error.downcast::<KeyError>().unwrap()
}

/// Two keys, and a Supabase that knows the first.
struct Rotation {
    server: MockServer,
    authorizer: Authorizer,
    old: Value,
    new: Value,
    by_old: String,
    by_new: String,
}

impl Rotation {
    /// The authorizer has read the keys, just now.
    async fn begun() -> Self {
        let (old, new) = (es256(), es256());
        let keys = [public(&old, Algorithm::ES256, "old"), public(&new, Algorithm::ES256, "new")];
        let server = supabase(&keys[..1]).await;
        let claims = claims(&server);
        let rotation = Self {
            authorizer: authorizer(&server, &[]),
            by_old: sign(&claims, &old, Algorithm::ES256, Some("old")),
            by_new: sign(&claims, &new, Algorithm::ES256, Some("new")),
            server,
            old: keys[0].clone(),
            new: keys[1].clone(),
        };
        assert!(rotation.admits_old().await);
        assert_eq!(reads(&rotation.server).await, 1);
        rotation
    }

    async fn publish(&self, keys: &[&Value]) {
        publish(&self.server, &keys.iter().map(|key| (*key).clone()).collect::<Vec<_>>()).await;
    }

    async fn reads(&self) -> usize {
        reads(&self.server).await
    }

    async fn admits_old(&self) -> bool {
        admits(&self.authorizer, &self.by_old).await
    }

    async fn admits_new(&self) -> bool {
        admits(&self.authorizer, &self.by_new).await
    }
}

#[tokio::test]
async fn a_new_key_is_looked_for_once_a_minute() {
    let rotation = Rotation::begun().await;
    later(30).await;
    assert!(!rotation.admits_new().await);
    rotation.publish(&[&rotation.old, &rotation.new]).await;
    assert!(!rotation.admits_new().await);
    assert_eq!(rotation.reads().await, 0, "the last look was half a minute ago");
    later(30).await;
    assert!(rotation.admits_new().await);
    assert!(rotation.admits_old().await);
    assert_eq!(rotation.reads().await, 1);
}

#[tokio::test]
async fn a_key_that_was_removed_is_refused_after_ten_minutes() {
    let rotation = Rotation::begun().await;
    rotation.publish(&[&rotation.new]).await;
    later(300).await;
    assert!(rotation.admits_old().await);
    assert_eq!(rotation.reads().await, 0, "a known key needs no look for ten minutes");
    later(300).await;
    assert!(!rotation.admits_old().await);
    assert!(rotation.admits_new().await);
    assert_eq!(rotation.reads().await, 1);
}

#[tokio::test]
async fn keys_are_read_again_and_again() {
    let rotation = Rotation::begun().await;
    for _ in 0..3 {
        rotation.publish(&[&rotation.new]).await;
        later(600).await;
        assert!(!rotation.admits_old().await);
        assert!(rotation.admits_new().await);
        rotation.publish(&[&rotation.old]).await;
        later(600).await;
        assert!(rotation.admits_old().await);
        assert!(!rotation.admits_new().await);
    }
    rotation.publish(&[]).await;
    later(600).await;
    assert!(!rotation.admits_old().await, "the last key is gone");
}

/// Whatever is no set of keys is an outage, and takes no key away.
#[tokio::test]
async fn known_keys_outlast_an_outage_and_unknown_ones_are_not_denied() {
    let moved = ResponseTemplate::new(302).insert_header("location", "https://elsewhere.example/");
    for (outage, answer) in [
        ("an error", ResponseTemplate::new(503).set_body_json(json!({"keys": []}))),
        ("a page", ResponseTemplate::new(200).set_body_string("<h1>Back soon</h1>")),
        ("a redirection", moved),
        ("some other JSON", ResponseTemplate::new(200).set_body_json(json!({"message": "Back soon"}))),
    ] {
        let rotation = Rotation::begun().await;
        answer_with(&rotation.server, answer).await;
        later(600).await;
        assert!(rotation.admits_old().await, "{outage}");
        assert!(rotation.admits_old().await, "{outage}");
        let error = unavailable(&rotation.authorizer, &rotation.by_new).await;
        assert!(matches!(error, KeyError::RecentlyUnreadable { .. }), "{outage}: {error}");
        assert_eq!(rotation.reads().await, 1, "{outage}: no more than one look in five seconds");
        later(5).await;
        let error = unavailable(&rotation.authorizer, &rotation.by_new).await;
        assert!(matches!(error, KeyError::Unreadable { .. }), "{outage}: {error}");
        assert_eq!(rotation.reads().await, 2, "{outage}");
        later(DAY).await;
        assert!(rotation.admits_old().await, "{outage}, a day long");

        rotation.publish(&[&rotation.new]).await;
        assert!(rotation.admits_old().await, "{outage}: the last try was just now");
        assert_eq!(rotation.reads().await, 0, "{outage}");
        later(5).await;
        assert!(rotation.admits_new().await, "{outage} is over");
        assert!(!rotation.admits_old().await, "{outage} is over, and the key is gone");
        assert_eq!(rotation.reads().await, 1, "{outage}");
    }
}

#[tokio::test]
async fn an_endpoint_that_hangs_is_an_outage() {
    let rotation = Rotation::begun().await;
    for (token, is_known) in [(&rotation.by_old, true), (&rotation.by_new, false)] {
        rotation.server.reset().await;
        let asked = Arc::new(Notify::new());
        let ask = Arc::clone(&asked);
        let hang = move |_: &wiremock::Request| {
            ask.notify_one();
            ResponseTemplate::new(200).set_delay(Duration::from_secs(DAY))
        };
        Mock::given(path(JWKS)).respond_with(hang).mount(&rotation.server).await;
        later(600).await;
        let begun = time::Instant::now();
        // Once the question is out nothing else can happen, so that the clock may run to the next time-out at once.
        let stand_still = async {
            asked.notified().await;
            time::pause();
        };
        let event = http_event(&format!("Bearer {token}"));
        let answer =
            time::timeout(FUNCTION_TIMEOUT, async { tokio::join!(rotation.authorizer.answer(event), stand_still).0 });
        let answer = answer.await.expect("answered before Lambda loses patience");
        time::resume();
        assert!(begun.elapsed() >= Duration::from_secs(4), "{:?}: slow isn't down", begun.elapsed());
        match answer {
            Ok(answer) => assert!(is_known && answer["isAuthorized"] == true, "{answer}"),
            Err(error) => {
                assert!(!is_known, "{error}");
                assert!(matches!(error.downcast_ref(), Some(KeyError::Unreadable { .. })), "{error}");
                assert!(telemetry::chain(error.as_ref()).contains("timed out"), "{}", telemetry::chain(error.as_ref()));
            }
        }
    }
    rotation.publish(&[&rotation.new]).await;
    later(5).await;
    assert!(rotation.admits_new().await, "it answers again");
    assert!(!rotation.admits_old().await);
}

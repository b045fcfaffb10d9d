//! Secrets that are changed while the system runs: it goes on with the new ones, without a deployment.

use std::panic::AssertUnwindSafe;

use futures::{FutureExt, future::join_all};
use reqwest::Method;
use serde_json::json;
use tests::{
    api::{Answer, As},
    fake_ghl::new_id,
    keys::{Keys, claims, sign},
    waiting::{A_MOMENT, until},
    world::World,
};

/// Changes a secret, tries, and changes it back, whatever came of it.
async fn with_secret<T>(world: &World, name: &str, [new, old]: [&str; 2], tried: impl AsyncFnOnce() -> T) -> T {
    world.cloud().put_secret(name, new).await;
    let outcome = AssertUnwindSafe(tried()).catch_unwind().await;
    world.cloud().put_secret(name, old).await;
    outcome.unwrap_or_else(|panic| std::panic::resume_unwind(panic))
}

/// A dozen at once: each worker of a function has a memory of its own.
async fn all_are<F: Future<Output = u16>>(status: u16, ask: impl Fn() -> F) -> Result<(), String> {
    let statuses = join_all((0..12).map(|_| ask())).await;
    if statuses.iter().all(|one| *one == status) { Ok(()) } else { Err(format!("{statuses:?}")) }
}

#[tokio::test]
async fn a_new_token_of_ghl_is_used_as_soon_as_the_old_one_is_refused() {
    let world = World::with_orders(4).await;
    let old = Keys::of_the_stack().ghl_token;
    let id = world.ghl.census().await.ordinary[0].clone();
    world.api.sync(&id).await;
    with_secret(&world, "/ghl-sync/ghl-sync/ghl-access-token", ["pit-rotated", &old], async || {
        world.ghl.settings(json!({ "token": "pit-rotated" })).await;
        // What has been read within 5 s is not read again.
        until("a sync with the new token", A_MOMENT, async || {
            let answer = world.api.post(As::Admin, &format!("/api/ghl/orders/{id}")).await;
            if answer.status == 200 { Ok(()) } else { Err(format!("{answer:?}")) }
        })
        .await;
    })
    .await;
    world.ghl.settings(json!({ "token": null })).await;
    until("a sync with the old token", A_MOMENT, async || {
        let answer = world.api.post(As::Admin, &format!("/api/ghl/orders/{id}")).await;
        if answer.status == 200 { Ok(()) } else { Err(format!("{answer:?}")) }
    })
    .await;
}

#[tokio::test]
async fn a_new_secret_of_workflow_webhooks_is_accepted_at_once() {
    let world = World::with_orders(4).await;
    let old = Keys::of_the_stack().webhook_secret;
    let id = new_id();
    world.ghl.put(&id, json!({})).await;
    let order = json!({ "customData": { "order_id": id }, "location": { "id": world.location_id } });
    let send = async |secret: &str| {
        let request = world.api.request(As::Nobody, Method::POST, "/api/ghl/webhook-qr").json(&order);
        Answer::to(request.header("x-webhook-secret", secret)).await.status
    };
    let until_accepted = async |secret: &str| {
        until("the secret is accepted", A_MOMENT, async || all_are(202, || send(secret)).await).await;
    };
    until_accepted(&old).await;
    let new = "an invented secret, just changed";
    with_secret(&world, "/ghl-sync/ghl-sync/webhook-shared-secret", [new, &old], async || until_accepted(new).await)
        .await;
    until_accepted(&old).await;
    // Nothing of it is left to the tests that follow.
    world.database.until_tickets(&id, 1, "live").await;
    world.assert_no_failures().await;
}

#[tokio::test]
async fn a_new_secret_of_user_tokens_is_accepted_at_once() {
    let world = World::with_orders(4).await;
    let old = Keys::of_the_stack().jwt_secret;
    let new = "an invented secret of user tokens, just changed";
    let status_for = async |secret: &str| {
        let mut claims = claims(&world);
        // The gateway remembers what it was told of a token: each is a new one.
        claims["sub"] = json!(new_id());
        let token = sign(&claims, jsonwebtoken::Algorithm::HS256, secret);
        let request = world.api.request(As::Nobody, Method::GET, "/api/qrapp/sync-status").bearer_auth(token);
        Answer::to(request).await.status
    };
    assert_eq!(status_for(&old).await, 200);
    with_secret(&world, "/ghl-sync/ghl-sync/supabase-jwt-secret", [new, &old], async || {
        until("the new secret is used", A_MOMENT, async || all_are(200, || status_for(new)).await).await;
    })
    .await;
    until("the old secret is used again", A_MOMENT, async || all_are(200, || status_for(&old)).await).await;
}

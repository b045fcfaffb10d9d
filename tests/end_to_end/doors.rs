//! Who may pass which door of the HTTP API, and what bad requests are told.

use reqwest::Method;
use tests::{
    api::{Answer, As},
    world::World,
};

const ID: &str = "660000000000000000000001";
const RUN: &str = "00000000-0000-4000-8000-000000000000";

/// Some of the documented routes, with ids in their places.
fn routes(wanted: impl Fn(&docs::Route) -> bool) -> Vec<(Method, String)> {
    let routes: Vec<_> = docs::routes().into_iter().filter(wanted).collect();
    assert!(routes.len() > 5, "{routes:?}");
    let with_ids = |path: &str| {
        let path = path.replace("orders/{id}", &format!("orders/{ID}")).replace("runs/{id}", &format!("runs/{RUN}"));
        path.replace("tickets/{id}", "tickets/1").replace("contacts/{id}", &format!("contacts/{ID}"))
    };
    let called = |route: &docs::Route| (route.method.parse().expect("a method"), with_ids(&route.path));
    routes.iter().map(called).collect()
}

#[tokio::test]
async fn without_a_session_every_door_is_closed() {
    let world = World::with_orders(4).await;
    for (method, path) in routes(|route| route.is_closed()) {
        let nobody = Answer::to(world.api.request(As::Nobody, method.clone(), &path)).await;
        assert!([401, 403].contains(&nobody.status), "{method} {path}: {nobody:?}");
        let forged =
            world.api.request(As::Nobody, method.clone(), &path).bearer_auth(format!("{}x", world.admin_token));
        let forged = Answer::to(forged).await;
        assert!([401, 403].contains(&forged.status), "{method} {path}: {forged:?}");
    }
}

#[tokio::test]
async fn a_member_reads_but_starts_nothing() {
    let world = World::with_orders(4).await;
    for (method, path) in routes(|route| route.who == "admin") {
        let refused = Answer::to(world.api.request(As::Member, method, &path)).await;
        refused.refused(403, "admin_required", &[]);
    }
    for path in ["/api/qrapp/sync-status", "/api/qrapp/runs", "/api/qrapp/failures"] {
        world.api.get(As::Member, path).await.ok();
    }
}

#[tokio::test]
async fn bad_requests_are_told_what_is_wrong() {
    let world = World::with_orders(4).await;
    let sync = "/api/ghl/orders/sync?mode=quick";
    world.api.post(As::Admin, sync).await.refused(400, "invalid_mode", &[]);
    world.api.get(As::Admin, sync).await.refused(400, "invalid_mode", &[]);
    for run in [RUN, "no-run", "%27%20or%201=1"] {
        let path = format!("/api/qrapp/runs/{run}");
        world.api.get(As::Member, &path).await.refused(404, "run_not_found", &[]);
    }
    for query in ["limit=many", "limit=-1", "before=whenever"] {
        world.api.get(As::Member, &format!("/api/qrapp/runs?{query}")).await.refused(400, "invalid_parameter", &[]);
    }
    let retry = world.api.request(As::Admin, Method::POST, &format!("/api/qrapp/runs/{RUN}/retry"));
    let retry = retry.header("content-type", "application/json").body("{\"orderIds\": ");
    Answer::to(retry).await.refused(400, "invalid_body", &[]);
}

#[tokio::test]
async fn answers_are_not_kept_and_not_guessed_at() {
    let world = World::with_orders(4).await;
    for answer in [
        world.api.get(As::Member, "/api/qrapp/sync-status").await,
        world.api.get(As::Member, "/api/qrapp/runs/none").await,
    ] {
        assert_eq!(answer.headers["x-content-type-options"], "nosniff", "{answer:?}");
        assert_eq!(answer.headers["cache-control"], "no-store", "{answer:?}");
        assert!(answer.headers["content-type"].to_str().unwrap().starts_with("application/json"), "{answer:?}");
    }
    let page = world.api.get(As::Nobody, "/").await;
    assert_eq!(page.status, 200);
    assert!(page.body.as_str().unwrap().contains("<!doctype html>"), "the page needs no session");
}

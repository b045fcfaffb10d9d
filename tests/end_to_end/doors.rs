//! Who may pass which door of the HTTP API, and what bad requests are told.

use reqwest::Method;
use tests::{
    api::{Answer, As, script_of},
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

#[tokio::test]
async fn the_page_and_its_files_come_compressed_and_are_kept() {
    let world = World::with_orders(4).await;
    let page = world.api.get(As::Nobody, "/").await;
    assert_eq!(page.headers["cache-control"], "no-cache");
    assert_eq!(page.headers["vary"], "accept-encoding");
    // Its script is too small for the measure below.
    let script = script_of(page.body.as_str().unwrap()).replace("start.js", "app.css");
    let plain = world.api.get(As::Nobody, &script).await;
    assert_eq!(plain.headers.get("content-encoding"), None, "{plain:?}");
    let plain = plain.body.as_str().unwrap().len();
    for form in ["br", "gzip"] {
        let asked = |path: &str| world.api.request(As::Nobody, Method::GET, path).header("accept-encoding", form);
        let answer = asked(&script).send().await.unwrap();
        assert_eq!(answer.status().as_u16(), 200, "{form}");
        assert_eq!(answer.headers()["content-encoding"], form);
        assert_eq!(answer.headers()["cache-control"], "public, max-age=31536000, immutable");
        let bytes = answer.bytes().await.unwrap();
        assert!(bytes.len() * 2 < plain, "{form}: {} of {plain} bytes", bytes.len());
        // The bytes themselves, and not their base64.
        assert!(form == "br" || bytes.starts_with(&[0x1f, 0x8b]), "{:?}", &bytes[..8]);

        let answer = asked("/").send().await.unwrap();
        let tag = answer.headers()["etag"].clone();
        let again = asked("/").header("if-none-match", tag).send().await.unwrap();
        assert_eq!(again.status().as_u16(), 304, "{form}");
    }
    let older = world.api.get(As::Nobody, "/assets/0000000000000000/app.js").await;
    older.refused(404, "no_route", &[]);
    assert_eq!(older.headers["cache-control"], "no-store");
}

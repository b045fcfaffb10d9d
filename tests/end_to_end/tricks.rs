//! Paths, ids, cursors and texts that try to mean something else on the way to GHL, to PostgREST or to SQL.

use reqwest::Method;
use serde_json::{Value, json};
use tests::{
    api::{Answer, As, script_of},
    fake_ghl::new_id,
    world::World,
};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

/// Texts for the place of an id: none of them is one, whatever happens to them on the way.
fn ids() -> Vec<String> {
    let good = new_id();
    [
        "..",
        "%2e%2e",
        "%2e%2e%2fproducts",
        "..%2f..%2fproducts",
        "%252e%252e%252fproducts",
        "%00",
        "a%00b",
        "%0d%0aX-Injected:%201",
        "%0aHost:%20elsewhere.example",
        "%3FaltId=SomeOtherLocation0001",
        "%23",
        "%26altId=x",
        "a%20b",
        "%27%20or%201=1--",
        "eq.1,or=(order_id.neq.x)",
        "*",
        "%25",
        "%F0%9F%8E%9F",
        "%ff%fe",
    ]
    .into_iter()
    .map(str::to_owned)
    .chain([
        "a".repeat(65),
        "a".repeat(4000),
        format!("{good}%3FaltId=SomeOtherLocation0001"),
        format!("{good}%2F..%2F{good}"),
        format!("{good}%00"),
    ])
    .collect()
}

#[tokio::test]
async fn no_id_in_a_path_reaches_anything_but_its_place() {
    let world = World::with_orders(4).await;
    world.ghl.clear_counters().await;
    for id in ids() {
        for (who, method, path) in [
            (As::Admin, Method::POST, format!("/api/ghl/orders/{id}")),
            (As::Admin, Method::GET, format!("/api/ghl/orders/{id}")),
            (As::Admin, Method::POST, format!("/api/qrapp/runs/{id}/retry")),
            (As::Member, Method::GET, format!("/api/qrapp/runs/{id}")),
            (As::Member, Method::GET, format!("/api/qrapp/orders/{id}/history")),
            (As::Member, Method::POST, format!("/api/qrapp/tickets/{id}/validate")),
            (As::Admin, Method::POST, format!("/api/qrapp/tickets/{id}/undo")),
            (As::Admin, Method::POST, format!("/api/qrapp/tickets/{id}/cancel")),
            (As::Admin, Method::POST, format!("/api/qrapp/tickets/{id}/reinstate")),
            (As::Admin, Method::POST, format!("/api/qrapp/contacts/{id}/forget")),
            (As::Nobody, Method::GET, format!("/assets/{id}")),
        ] {
            let request = world.api.request(who, method.clone(), &path);
            // A client itself takes `..` out of a path, and then asks for something else.
            let sent = request.try_clone().unwrap().build().unwrap();
            if !sent.url().path().ends_with(&path) {
                continue;
            }
            let answer = Answer::to(request).await;
            assert!([400, 401, 403, 404, 405, 414].contains(&answer.status), "{method} {path}: {answer:?}");
            assert!(answer.headers.get("x-injected").is_none(), "{method} {path}: {answer:?}");
            assert!(!answer.body.to_string().contains("/root"), "{method} {path}: {answer:?}");
        }
    }
    let counters = world.ghl.counters().await;
    let asked: u64 = counters["requests"].as_object().unwrap().values().filter_map(Value::as_u64).sum();
    assert_eq!(asked, 0, "GHL was asked for something: {counters}");
}

/// The status of a request whose path is sent as it is, dots and all.
async fn raw(world: &World, who: As, method: &str, path: &str) -> u16 {
    let authorization = world.api.request(who, Method::GET, "/").build().unwrap();
    let authorization = authorization.headers().get("authorization").map(|value| value.to_str().unwrap().to_owned());
    let (server, base) = world.http_url.trim_start_matches("http://").split_once('/').unwrap();
    let mut socket = TcpStream::connect(server).await.unwrap();
    let authorization = authorization.map(|token| format!("Authorization: {token}\r\n")).unwrap_or_default();
    let head = format!("{method} /{base}{path} HTTP/1.1\r\nHost: {server}\r\n{authorization}Connection: close\r\n\r\n");
    socket.write_all(head.as_bytes()).await.unwrap();
    let mut answer = Vec::new();
    socket.read_to_end(&mut answer).await.unwrap();
    let line = String::from_utf8_lossy(&answer);
    line.split(' ').nth(1).and_then(|status| status.parse().ok()).unwrap_or_else(|| panic!("{path}: {line}"))
}

#[tokio::test]
async fn dots_in_a_path_lead_nowhere() {
    let world = World::with_orders(4).await;
    let runs = async || world.database.rows("select 1 from public.sync_runs").await.len();
    let before = runs().await;
    for (who, method, path) in [
        (As::Admin, "POST", "/api/ghl/orders/%2e%2e%2forders%2fsync"),
        (As::Admin, "POST", "/api/ghl/orders/..%2fsync"),
        (As::Admin, "POST", "/api/qrapp/runs/../../ghl/orders/sync"),
        (As::Nobody, "GET", "/assets/../api/qrapp/sync-status"),
        (As::Nobody, "GET", "/assets/%2e%2e/%2e%2e/template.yaml"),
        (As::Nobody, "GET", "/assets/..%2f..%2f..%2fetc%2fpasswd"),
        (As::Nobody, "GET", "/assets/%00app.js"),
    ] {
        let status = raw(&world, who, method, path).await;
        assert!([400, 401, 403, 404, 405].contains(&status), "{method} {path}: {status}");
    }
    assert_eq!(runs().await, before, "a run was started");
    assert_eq!(raw(&world, As::Member, "GET", "/api/qrapp/sync-status").await, 200, "such requests are understood");
}

#[tokio::test]
async fn no_cursor_and_no_body_is_taken_for_a_filter() {
    let world = World::with_orders(4).await;
    for trick in
        ["eq.x", "x,or=(id.neq.0)", "%27;drop%20table%20sync_runs;--", "%00", "2026-01-01", "%28select%201%29", "*"]
    {
        for path in ["runs?before", "failures?after", "orders/none/history?before"] {
            let answer = world.api.get(As::Member, &format!("/api/qrapp/{path}={trick}")).await;
            assert!([200, 400, 404].contains(&answer.status), "{path}={trick}: {answer:?}");
        }
    }
    let run = "/api/qrapp/runs/00000000-0000-4000-8000-000000000000/retry";
    for id in ["../x", "a b", "x'; drop table public.sync_runs; --", "\u{0}", &"a".repeat(65)] {
        let answer = world.api.post_json(As::Admin, run, &json!({ "orderIds": [id] })).await;
        assert_eq!((answer.status, &answer.body["code"]), (400, &json!("invalid_order_id")), "{id:?}: {answer:?}");
    }
    for query in ["mode=full%27", "mode[]=full", "mode=full%00"] {
        let answer = world.api.post(As::Admin, &format!("/api/ghl/orders/sync?{query}")).await;
        // An unknown parameter is no mode: the default would start a run.
        assert!(answer.status == 400 || answer.status == 202, "{query}: {answer:?}");
        world.api.post(As::Admin, "/api/ghl/orders/sync/cancel").await;
        world.database.end_cooldown().await;
    }
    world.api.get(As::Member, "/api/qrapp/runs").await.ok();
}

#[tokio::test]
async fn every_answer_wears_the_security_headers() {
    let world = World::with_orders(4).await;
    let page = world.api.get(As::Nobody, "/").await.ok();
    let script = script_of(page.as_str().unwrap());
    let answers = [
        world.api.get(As::Member, "/api/qrapp/sync-status").await,
        world.api.get(As::Member, "/api/qrapp/runs/none").await,
        world.api.post(As::Member, "/api/ghl/orders/sync").await,
        world.api.post(As::Nobody, "/api/ghl/webhook-qr").await,
        world.api.get(As::Nobody, "/").await,
        world.api.get(As::Nobody, &script).await,
        world.api.get(As::Nobody, "/assets/nothing.js").await,
    ];
    for answer in &answers {
        let header = |name: &str| answer.headers.get(name).and_then(|value| value.to_str().ok()).unwrap_or_default();
        assert_eq!(header("x-content-type-options"), "nosniff", "{answer:?}");
        assert!(header("strict-transport-security").starts_with("max-age="), "{answer:?}");
        assert_eq!(header("referrer-policy"), "no-referrer", "{answer:?}");
        let policy = header("content-security-policy");
        assert!(policy.contains("default-src 'none'") && policy.contains("frame-ancestors 'none'"), "{answer:?}");
        assert!(!policy.contains("unsafe"), "{answer:?}");
        assert_eq!(header("access-control-allow-origin"), "", "no other origin may read: {answer:?}");
    }
}

#[tokio::test]
async fn another_origin_may_not_ask_from_a_browser() {
    let world = World::with_orders(4).await;
    let preflight = world.api.request(As::Nobody, Method::OPTIONS, "/api/ghl/orders/sync");
    let preflight =
        preflight.header("origin", "https://elsewhere.example").header("access-control-request-method", "POST");
    let answer = Answer::to(preflight).await;
    assert!(answer.headers.get("access-control-allow-origin").is_none(), "{answer:?}");
}

#[tokio::test]
async fn the_public_key_and_a_users_token_see_nothing_of_the_database() {
    let world = World::with_orders(4).await;
    world.api.sync(&world.ghl.census().await.ordinary[0]).await;
    let config = world.api.get(As::Nobody, "/assets/config.json").await.ok();
    let public = config["supabaseAnonKey"].as_str().expect("the page knows the public key").to_owned();
    let http = tests::http();
    for (who, token) in [("anon", &public), ("authenticated", &world.admin_token)] {
        for table in
            ["ghl_qr_orders", "ghl_qr_tickets", "sync_runs", "sync_failures", "sync_connections", "sync_socket_tickets"]
        {
            let url = format!("{}/{table}?select=*", world.postgrest_url);
            for method in [Method::GET, Method::DELETE, Method::POST] {
                let request = http.request(method.clone(), &url).header("apikey", &public).bearer_auth(token);
                let answer = Answer::to(request.json(&json!({}))).await;
                assert!([401, 403].contains(&answer.status), "{who}: {method} {table}: {answer:?}");
            }
        }
        for function in [
            "upsert_orders",
            "reconcile_tickets",
            "validate_ticket",
            "sync_snapshot",
            "begin_publication",
            "order_history",
        ] {
            let url = format!("{}/rpc/{function}", world.postgrest_url);
            let request = http.post(url).header("apikey", &public).bearer_auth(token);
            let answer = Answer::to(request.json(&json!({ "request": { "location_id": world.location_id } }))).await;
            assert!([401, 403].contains(&answer.status), "{who}: {function}: {answer:?}");
        }
    }
    let rows =
        http.get(format!("{}/ghl_qr_orders?select=order_id", world.postgrest_url)).header("apikey", &world.service_key);
    let rows = Answer::to(rows.bearer_auth(&world.service_key)).await.ok();
    assert_eq!(rows.as_array().map(Vec::len), Some(1), "the service key sees it: {rows}");
}

//! The WebSocket's door: who gets in, what it answers, and who is forgotten.

use jsonwebtoken::Algorithm;
use reqwest::Method;
use serde_json::json;
use tests::{
    api::{Answer, As},
    dashboard::{Dashboard, connect, ticket},
    keys::{Keys, claims, now, sign},
    waiting::{A_MOMENT, A_SMALL_RUN, until},
    world::World,
};

#[tokio::test]
async fn only_a_ticket_from_a_page_of_ours_opens_the_socket() {
    let world = World::with_orders(4).await;
    let good = ticket(&world, As::Member).await;
    let mut forged = good.clone().into_bytes();
    let at = forged.len() - 5;
    forged[at] = if forged[at] == b'A' { b'B' } else { b'A' };
    let forged = String::from_utf8(forged).unwrap();
    let origin = Some(world.origin());
    assert!(connect(&world, "", origin).await.is_err(), "no ticket");
    assert!(connect(&world, &forged, origin).await.is_err(), "a forged ticket");
    assert!(connect(&world, &world.admin_token, origin).await.is_err(), "a session instead of a ticket");
    assert!(connect(&world, &good, Some("https://elsewhere.example")).await.is_err(), "a page of others");
    assert!(connect(&world, &good, None).await.is_err(), "no page at all");
    let before = world.database.connections().await;
    let mut first = connect(&world, &good, origin).await.expect("the ticket is good");
    assert!(connect(&world, &good, origin).await.is_err(), "the ticket has opened a connection");
    first.close(None).await.expect("it closes");
    until("it is forgotten", A_MOMENT, async || {
        let open = world.database.connections().await;
        if open.iter().all(|id| before.contains(id)) { Ok(()) } else { Err(format!("{open:?}")) }
    })
    .await;
    assert!(connect(&world, &good, origin).await.is_err(), "also once that is closed");
    assert!([401, 403].contains(&world.api.post(As::Nobody, "/api/qrapp/ws-ticket").await.status));
}

#[tokio::test]
async fn the_socket_answers_status_and_ping() {
    let world = World::with_orders(4).await;
    let mut dashboard = Dashboard::open(&world, As::Member).await;
    let first = dashboard.frames[0].clone();
    dashboard.say(json!({ "action": "ping" })).await;
    let pong = dashboard.until("pong", A_MOMENT, |frame| frame["event"] == "pong").await;
    assert_eq!(pong, json!({ "event": "pong" }));
    dashboard.say(json!({ "action": "status" })).await;
    let second = dashboard.until("a second snapshot", A_MOMENT, |frame| frame["event"] == "sync_status").await;
    assert!(second["seq"].as_u64() > first["seq"].as_u64(), "{second} after {first}");
    assert_eq!((&second["runId"], &second["data"]["seq"]), (&first["runId"], &second["seq"]));
}

#[tokio::test]
async fn a_session_that_ends_is_told_by_the_next_answer_and_its_connection_closed() {
    let world = World::with_orders(4).await;
    let (mut claims, ends) = (claims(&world), now() + 6);
    claims["exp"] = json!(ends);
    let token = sign(&claims, Algorithm::HS256, &Keys::of_the_stack().jwt_secret);
    let ask = async |method: Method, path: &str| {
        Answer::to(world.api.request(As::Nobody, method, path).bearer_auth(&token)).await
    };
    let ticket = ask(Method::POST, "/api/qrapp/ws-ticket").await.ok();
    let before = world.database.connections().await;
    let mut dashboard = Dashboard::open_with(&world, ticket["ticket"].as_str().unwrap()).await;
    let ours = async || {
        let open = world.database.connections().await;
        open.into_iter().filter(|id| !before.contains(id)).collect::<Vec<_>>()
    };
    assert_eq!(ours().await.len(), 1);

    let told = until("the end is told", A_MOMENT, async || {
        dashboard.say(json!({ "action": "ping" })).await;
        let answer = dashboard.next().await;
        if answer["event"] == "pong" { Err(answer.to_string()) } else { Ok(answer) }
    })
    .await;
    assert!(now() >= ends, "{} s too early: {told}", ends - now());
    assert_eq!((&told["event"], &told["data"]["code"]), (&json!("error"), &json!("session_ended")), "{told}");
    assert!(told["data"]["error"].is_string(), "{told}");
    assert!(dashboard.is_closed_within(A_MOMENT).await);
    until("it is forgotten", A_MOMENT, async || {
        let left = ours().await;
        if left.is_empty() { Ok(()) } else { Err(format!("{left:?}")) }
    })
    .await;

    // Clocks differ, so requests have a minute's leeway; a ticket would open nothing.
    assert_eq!(ask(Method::GET, "/api/qrapp/sync-status").await.status, 200);
    ask(Method::POST, "/api/qrapp/ws-ticket").await.refused(401, "session_ended", &[]);
}

#[tokio::test]
async fn what_the_socket_does_not_know_is_answered_once_and_ends_the_connection() {
    let world = World::with_orders(4).await;
    let long = json!({ "action": "status", "filler": "x".repeat(20_000) });
    for unknown in [json!({ "action": "drop tables" }), json!({}), json!([]), json!("status"), long] {
        let mut dashboard = Dashboard::open(&world, As::Member).await;
        dashboard.say(unknown).await;
        let answer = dashboard.until("an error", A_MOMENT, |frame| frame["event"] == "error").await;
        assert_eq!(answer["data"]["code"], "unknown_action", "{answer}");
        assert!(answer["data"]["error"].is_string(), "{answer}");
        assert!(dashboard.is_closed_within(A_MOMENT).await, "{answer}");
    }
}

#[tokio::test]
async fn a_user_has_twenty_dashboards_and_not_one_more() {
    let world = World::with_orders(4).await;
    let mut open = Vec::new();
    let refused = loop {
        let connected = connect(&world, &ticket(&world, As::Member).await, Some(world.origin())).await;
        match connected {
            Ok(socket) => open.push(socket),
            Err(refused) => break refused.to_string(),
        }
        assert!(open.len() <= 20, "more than twenty");
    };
    // Earlier tests may have left one that isn't known to be gone yet.
    assert!(open.len() >= 15, "{} and then {refused}", open.len());
    assert!(connect(&world, &ticket(&world, As::Admin).await, Some(world.origin())).await.is_ok(), "others still may");
    for mut socket in open {
        socket.close(None).await.expect("it closes");
    }
    until("they are forgotten", A_MOMENT, async || {
        let left = world.database.connections().await.len();
        if left < 5 { Ok(()) } else { Err(left.to_string()) }
    })
    .await;
}

#[tokio::test]
async fn connections_that_are_gone_are_forgotten() {
    let world = World::with_orders(4).await;
    let before = world.database.connections().await;
    let dashboard = Dashboard::open(&world, As::Member).await;
    let opened: Vec<_> = world.database.connections().await.into_iter().filter(|id| !before.contains(id)).collect();
    assert_eq!(opened.len(), 1);
    dashboard.close().await;
    let forgotten = async |id: &str| {
        let left = world.database.connections().await;
        if left.iter().any(|known| known == id) { Err(format!("{left:?}")) } else { Ok(()) }
    };
    until("a closed connection is forgotten", A_MOMENT, async || forgotten(&opened[0]).await).await;

    // One whose end the gateway never told, as after a crash: it is found gone with the next frame.
    let mut watching = Dashboard::open(&world, As::Member).await;
    let row = format!("values ('{}', 'R0dvbmU9', 'nobody', 'member', now() + interval '1 hour')", world.location_id);
    let columns = "location_id, connection_id, user_id, role, expires_at";
    world.database.execute(&format!("insert into public.sync_connections ({columns}) {row}")).await;
    let run_id = world.api.start("/api/ghl/orders/sync?mode=incremental").await;
    watching.until_told(&run_id, "Syncing", A_MOMENT).await;
    until("a gone connection is forgotten", A_MOMENT, async || forgotten("R0dvbmU9").await).await;
    watching.until_told(&run_id, "Delay", A_SMALL_RUN).await;
}

//! Frames to many dashboards: what a run posts, and how long the last dashboard waits for what the first has.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use futures::{SinkExt, StreamExt, future::join_all, stream};
use jsonwebtoken::Algorithm;
use serde_json::{Value, json};
use tests::{
    dashboard::connect,
    keys::{Keys, now, sign},
    world::World,
};
use tokio::{sync::watch, task::JoinHandle};
use tokio_tungstenite::tungstenite::Message;

use crate::counting::quantile;
use crate::full::{follow, prepare};
use crate::like_ghl;
use crate::report::Report;

/// When each frame of a run came to a dashboard, by its number.
type Received = BTreeMap<u64, Instant>;

/// How many dashboards connect at the same time.
const CONNECTING: usize = 10;
/// How long after the end of a run the last frames are waited for.
const PATIENCE: Duration = Duration::from_secs(10);

/// A dashboard of a user of its own: one user may have twenty. Ends with the run's last frame, or when it is told to.
async fn watch(world: &World, secret: &str, number: usize, mut stop: watch::Receiver<bool>) -> JoinHandle<Received> {
    let claims = json!({
        "aud": "ghl-sync-websocket", "sub": format!("user-{number}"), "role": "member", "location_id": world.location_id,
        "uexp": now() + 3600, "iat": now(), "exp": now() + 60,
    });
    let ticket = sign(&claims, Algorithm::HS256, secret);
    // One that the busy gateway refuses has received nothing.
    let Ok(mut socket) = connect(world, &ticket, Some(world.origin())).await else {
        return tokio::spawn(async { Received::new() });
    };
    socket.send(Message::text(json!({ "action": "status" }).to_string())).await.expect("it asks");
    tokio::spawn(async move {
        let (mut received, mut has_begun) = (Received::new(), false);
        loop {
            let message = tokio::select! {
                message = socket.next() => message,
                _ = stop.changed() => break,
            };
            let Some(Ok(message)) = message else { break };
            let Ok(frame) = serde_json::from_str::<Value>(message.to_text().unwrap_or_default()) else { continue };
            let (event, status) = (frame["event"].as_str(), frame["data"]["status"].as_str());
            has_begun |= status == Some("Syncing");
            if has_begun && let Some(number) = frame["seq"].as_u64() {
                received.insert(number, Instant::now());
            }
            if has_begun && event == Some("sync_status") && status == Some("Delay") {
                break;
            }
        }
        socket.close(None).await.ok();
        received
    })
}

pub(crate) async fn measure(world: &World, report: &mut Report) {
    let secret = Keys::of_the_stack().ws_ticket_secret;
    let mut rows = Vec::new();
    for dashboards in [1_usize, 50, 500] {
        prepare(world, 150, &like_ghl()).await;
        world.database.execute("delete from public.sync_connections").await;
        let (stop, stopped) = watch::channel(false);
        // Few at a time, since a ticket is good for a minute.
        let watching = (0..dashboards).map(|number| watch(world, &secret, number, stopped.clone()));
        let watching: Vec<_> = stream::iter(watching).buffered(CONNECTING).collect().await;
        let run_id = world.api.start("/api/ghl/orders/sync?mode=full").await;
        let (row, _) = follow(world, &run_id, Instant::now()).await;
        assert_eq!(row["state"], "Delay", "{row}");
        let all = join_all(watching);
        tokio::pin!(all);
        let received: Vec<Received> = match tokio::time::timeout(PATIENCE, &mut all).await {
            Ok(received) => received,
            Err(_) => {
                stop.send(true).expect("some dashboards are left");
                all.await
            }
        }
        .into_iter()
        .map(Result::unwrap)
        .collect();
        world.database.end_cooldown().await;

        let mut first: Received = BTreeMap::new();
        for (number, at) in received.iter().flatten() {
            let earliest = first.entry(*number).or_insert(*at);
            *earliest = (*earliest).min(*at);
        }
        let behind = |(number, at): (&u64, &Instant)| (*at - first[number]).as_secs_f64() * 1000.0;
        let delays: Vec<f64> = received.iter().flatten().map(behind).collect();
        let got = delays.len() as f64 / (first.len() * dashboards) as f64 * 100.0;
        println!("{dashboards} dashboards: {} frames, {got:.1} % delivered", first.len());
        rows.push(vec![
            dashboards.to_string(),
            first.len().to_string(),
            format!("{got:.1}"),
            format!("{:.0}", quantile(&delays, 0.99)),
            delays.len().to_string(),
        ]);
    }
    report.section(
        "Fan-out",
        "A full sync of 150 orders. The delay is from the first dashboard that had a frame to each other one; all of them, \
         the gateway and the functions share this machine, which posts some hundred frames a second; what comes later than \
         ten seconds after the end isn't counted. At most 500 dashboards are admitted by default.",
        &["dashboards", "frames", "delivered (%)", "delay p99 (ms)", "posts"],
        rows,
    );
}

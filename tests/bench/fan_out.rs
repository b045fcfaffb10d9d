//! Frames to many dashboards: what a run posts, and how long the last dashboard waits for what the first has.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use futures::{SinkExt, StreamExt, future::join_all, stream};
use jsonwebtoken::Algorithm;
use serde_json::{Value, json};
use tests::{
    dashboard::connect,
    fake_ghl::new_id,
    keys::{Keys, now, sign},
    world::World,
};
use tokio::{sync::watch, task::JoinHandle};
use tokio_tungstenite::tungstenite::Message;

use crate::counting::{self, quantile};
use crate::full::{self, follow, prepare};
use crate::goals::Goal;
use crate::like_ghl;
use crate::report::Report;

/// When each frame of a run came to a dashboard, by its number.
type Received = BTreeMap<u64, Instant>;

const ORDERS: u32 = 150;
/// As many as are admitted by default.
const MOST: usize = 500;
/// As many as the functions post at the same time.
const POSTS_AT_ONCE: usize = 16;
const CAPACITY_FOR: Duration = Duration::from_secs(5);
/// How many dashboards connect at the same time.
const CONNECTING: usize = 10;
/// How long after the end of a run the last frames are waited for.
const PATIENCE: Duration = Duration::from_secs(10);

/// A dashboard of a user of its own: one user may have twenty. Ends with the run's last frame, or when it is told to.
async fn watch(world: &World, secret: &str, number: usize, mut stop: watch::Receiver<bool>) -> JoinHandle<Received> {
    let claims = json!({
        "jti": new_id(), "aud": "ghl-sync-websocket", "sub": format!("user-{number}"), "role": "member",
        "location_id": world.location_id, "uexp": now() + 3600, "iat": now(), "exp": now() + 60,
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

/// Dashboards that are connected, and what tells them to end.
struct Audience {
    watching: Vec<JoinHandle<Received>>,
    stop: watch::Sender<bool>,
}

impl Audience {
    async fn gather(world: &World, secret: &str, dashboards: usize) -> Self {
        world.database.execute("delete from public.sync_connections").await;
        let (stop, stopped) = watch::channel(false);
        // Few at a time, since a ticket is good for a minute.
        let watching = (0..dashboards).map(|number| watch(world, secret, number, stopped.clone()));
        Self { watching: stream::iter(watching).buffered(CONNECTING).collect().await, stop }
    }

    /// What each has received by the time that the last frames are there, or patience is over.
    async fn leave(self, patience: Duration) -> Vec<Received> {
        let all = join_all(self.watching);
        tokio::pin!(all);
        let received = match tokio::time::timeout(patience, &mut all).await {
            Ok(received) => received,
            Err(_) => {
                self.stop.send(true).ok();
                all.await
            }
        };
        received.into_iter().map(Result::unwrap).collect()
    }
}

/// Posts per second that the gateway manages, as many at a time as the functions post.
async fn capacity(world: &World) -> f64 {
    let connections = world.database.connections().await;
    assert!(!connections.is_empty(), "nobody is connected");
    let cloud = world.cloud();
    // Of the size of a frame of progress.
    let frame = json!({ "event": "nothing", "data": "x".repeat(450) }).to_string();
    let (begun, mut posted) = (Instant::now(), 0_u32);
    let mut posts =
        stream::iter(connections.iter().cycle()).map(|id| cloud.post_frame(id, &frame)).buffer_unordered(POSTS_AT_ONCE);
    while begun.elapsed() < CAPACITY_FOR {
        let status = posts.next().await.expect("connections without end");
        assert!(status.is_success(), "the gateway answers a post with {status}");
        posted += 1;
    }
    f64::from(posted) / begun.elapsed().as_secs_f64()
}

pub(crate) async fn measure(world: &World, report: &mut Report) {
    let secret = Keys::of_the_stack().ws_ticket_secret;
    let mut rows = Vec::new();
    // Seconds of the sync, and frames of each dashboard, when one looks on.
    let mut alone = None;
    for dashboards in [1_usize, 50, 500] {
        prepare(world, ORDERS, &like_ghl()).await;
        let audience = Audience::gather(world, &secret, dashboards).await;
        let capacity = capacity(world).await;
        counting::begin(world).await;
        let run_id = world.api.start("/api/ghl/orders/sync?mode=full").await;
        let (row, _) = follow(world, &run_id, Instant::now()).await;
        assert_eq!(row["state"], "Delay", "{row}");
        let seconds = full::seconds(&row);
        let received = audience.leave(PATIENCE).await;
        let throttled = counting::calls(world).await.throttled;
        world.database.end_cooldown().await;

        let mut first: Received = BTreeMap::new();
        for (number, at) in received.iter().flatten() {
            let earliest = first.entry(*number).or_insert(*at);
            *earliest = (*earliest).min(*at);
        }
        let behind = |(number, at): (&u64, &Instant)| (*at - first[number]).as_secs_f64() * 1000.0;
        let delays: Vec<f64> = received.iter().flatten().map(behind).collect();
        let posted = delays.len() as f64;
        let (alone_seconds, alone_frames) = *alone.get_or_insert((seconds, first.len()));
        let wanted = (alone_frames * dashboards) as f64;
        let could = capacity * seconds;
        println!(
            "{dashboards} dashboards: {} frames, {posted} posted, {wanted} wanted, {could:.0} possible",
            first.len()
        );
        if dashboards == MOST {
            report.goal(
                Goal::at_least(format!("{dashboards} dashboards: posted of what the gateway could, or of what was wanted"),
                    posted / wanted.min(could) * 100.0, 95.0, 0, " %")
                    .because(format!(
                        "{posted:.0} posts; the gateway manages {capacity:.0} per second while nothing else runs, here it shares two cores with the sync"
                    )),
            );
            report.goal(
                Goal::at_most(
                    format!("{dashboards} dashboards: T of the sync / T with one"),
                    seconds / alone_seconds,
                    1.10,
                    2,
                    "",
                )
                .because(format!(
                    "{seconds:.1} s instead of {alone_seconds:.1} s, on a machine whose two cores also post and receive"
                )),
            );
            report.goal(Goal::at_most(
                format!("{dashboards} dashboards: calls answered with 429"),
                throttled as f64,
                0.0,
                0,
                "",
            ));
        }
        rows.push(vec![
            dashboards.to_string(),
            format!("{capacity:.0}"),
            format!("{seconds:.1}"),
            first.len().to_string(),
            format!("{posted:.0}"),
            format!("{wanted:.0}"),
            format!("{could:.0}"),
            if delays.is_empty() { "-".to_owned() } else { format!("{:.0}", quantile(&delays, 0.99)) },
        ]);
    }
    report.section(
        "Fan-out",
        &format!(
            "A full sync of {ORDERS} orders. First it is measured how fast the gateway takes posts, {POSTS_AT_ONCE} at a time, over the same \
             connections while nothing else runs. Wanted are as many frames for each dashboard as one alone gets. The delay is from the first \
             dashboard that had a frame to each other one; what comes later than ten seconds after the end isn't counted."
        ),
        &["dashboards", "posts per second possible", "T (s)", "frames", "posted", "wanted", "possible in T", "delay p99 (ms)"],
        rows,
    );
}

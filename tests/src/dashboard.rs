//! A dashboard: one WebSocket connection, and every frame it received.

use std::time::Duration;

use futures::{SinkExt, StreamExt};
use reqwest::header::{HeaderValue, ORIGIN};
use serde_json::{Value, json};
use tokio::{net::TcpStream, time::timeout};
use tokio_tungstenite::{
    MaybeTlsStream, WebSocketStream, connect_async,
    tungstenite::{Error, Message, client::IntoClientRequest},
};

use crate::{api::As, times::assert_times, waiting::A_MOMENT, world::World};

/// A connected dashboard.
pub struct Dashboard {
    socket: WebSocketStream<MaybeTlsStream<TcpStream>>,
    /// Oldest first, as they arrived.
    pub frames: Vec<Value>,
}

impl Dashboard {
    /// Connects and has the snapshot.
    pub async fn open(world: &World, who: As) -> Self {
        Self::open_with(world, &ticket(world, who).await).await
    }

    /// Connects with this ticket and has the snapshot.
    pub async fn open_with(world: &World, ticket: &str) -> Self {
        let socket = connect(world, ticket, Some(world.origin())).await.expect("a dashboard connects");
        let mut dashboard = Self { socket, frames: Vec::new() };
        dashboard.say(json!({ "action": "status" })).await;
        dashboard.until("the snapshot", A_MOMENT, |frame| frame["event"] == "sync_status").await;
        dashboard
    }

    /// Sends a message.
    pub async fn say(&mut self, message: Value) {
        self.socket.send(Message::text(message.to_string())).await.expect("a message is sent");
    }

    /// Receives until a frame matches; panics with all it received, when its patience ends.
    pub async fn until(&mut self, what: &str, patience: Duration, is_it: impl Fn(&Value) -> bool) -> Value {
        let received = timeout(patience, async {
            loop {
                let frame = self.next().await;
                if is_it(&frame) {
                    return frame;
                }
            }
        })
        .await;
        received.unwrap_or_else(|_| panic!("{what}: no such frame within {patience:?}; received:\n{}", self.received()))
    }

    /// Receives until a run is told to be in this state.
    pub async fn until_told(&mut self, run_id: &str, state: &str, patience: Duration) -> Value {
        self.until(&format!("{state} of {run_id}"), patience, |frame| {
            frame["event"] == "sync_status" && frame["runId"] == run_id && frame["data"]["status"] == state
        })
        .await
    }

    /// The next frame.
    pub async fn next(&mut self) -> Value {
        loop {
            let message = self.socket.next().await;
            match message.unwrap_or_else(|| panic!("the connection was closed; received:\n{}", self.received())) {
                Ok(Message::Text(text)) => {
                    let frame: Value = serde_json::from_str(&text).expect("a frame is JSON");
                    assert_times(&frame);
                    self.frames.push(frame.clone());
                    return frame;
                }
                Ok(Message::Close(why)) => panic!("closed by the gateway ({why:?}); received:\n{}", self.received()),
                Ok(_) => {}
                Err(error) => panic!("{error}; received:\n{}", self.received()),
            }
        }
    }

    /// Whether the gateway closes the connection, and says nothing more before.
    pub async fn is_closed_within(&mut self, patience: Duration) -> bool {
        let closed = timeout(patience, async {
            loop {
                match self.socket.next().await {
                    None | Some(Ok(Message::Close(_)) | Err(_)) => return true,
                    Some(Ok(Message::Text(_))) => return false,
                    Some(Ok(_)) => {}
                }
            }
        });
        closed.await.unwrap_or(false)
    }

    /// The frames of one run by their numbers, each of which is given once. They arrive in this order, but for two
    /// publishers that meet at a change of state, with two frames each; a dashboard drops what comes late then.
    pub fn of_run(&self, run_id: &str) -> Vec<Value> {
        let mut frames: Vec<_> = self.frames.iter().filter(|frame| frame["runId"] == run_id).cloned().collect();
        let number = |frame: &Value| frame["seq"].as_u64().expect("every frame has its number");
        let late = frames.windows(2).filter(|pair| number(&pair[1]) <= number(&pair[0])).count();
        assert!(late <= 2, "{late} frames came late:\n{}", self.received());
        frames.sort_by_key(number);
        assert!(
            frames.windows(2).all(|pair| number(&pair[0]) < number(&pair[1])),
            "a number twice:\n{}",
            self.received()
        );
        frames
    }

    /// Leaves as a browser does that closes its page.
    pub async fn close(mut self) {
        self.socket.close(None).await.expect("a dashboard closes");
    }

    fn received(&self) -> String {
        self.frames.iter().map(|frame| format!("  {frame}\n")).collect()
    }
}

/// A ticket to the socket.
pub async fn ticket(world: &World, who: As) -> String {
    let answer = world.api.post(who, "/api/qrapp/ws-ticket").await.ok();
    assert!(answer["expiresAt"].as_str().is_some_and(|time| time.ends_with('Z')), "{answer}");
    answer["ticket"].as_str().expect("a ticket").to_owned()
}

/// Connects with a ticket, from a page of this origin.
pub async fn connect(
    world: &World,
    ticket: &str,
    origin: Option<&str>,
) -> Result<WebSocketStream<MaybeTlsStream<TcpStream>>, Error> {
    let mut request = format!("{}?ticket={ticket}", world.websocket_url).into_client_request()?;
    if let Some(origin) = origin {
        request.headers_mut().insert(ORIGIN, HeaderValue::from_str(origin).unwrap());
    }
    connect_async(request).await.map(|(socket, _)| socket)
}

//! Starting and stopping.

use std::{
    net::{Ipv4Addr, SocketAddr},
    sync::Arc,
    time::Duration,
};

use anyhow::Context as _;
use axum::{Router, http::StatusCode};
use tokio::{net::TcpListener, sync::oneshot, task::JoinHandle};

use crate::{
    api,
    connection::{Cut, CuttableListener},
    control,
    error::GhlError,
    options::Options,
    world::{Shared, World},
};

/// A running fake. Dropped, it goes on until the runtime ends; [`FakeGhl::stop`] ends it cleanly.
#[derive(Debug)]
pub struct FakeGhl {
    address: SocketAddr,
    stop: oneshot::Sender<()>,
    server: JoinHandle<std::io::Result<()>>,
}

impl FakeGhl {
    /// Starts it on 127.0.0.1 and returns once it listens.
    ///
    /// # Errors
    /// Where the port is taken or the signing key can't be read.
    pub async fn start(options: &Options) -> anyhow::Result<Self> {
        let world = Arc::new(World::new(options)?);
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, options.port)).await.with_context(|| {
            format!("port {} can't be used: choose another with --port, or 0 for a free one", options.port)
        })?;
        let address = listener.local_addr()?;
        let (stop, stopped) = oneshot::channel::<()>();
        let service = routes(&world).into_make_service_with_connect_info::<Cut>();
        let server = axum::serve(CuttableListener(listener), service).with_graceful_shutdown(async {
            let _ = stopped.await;
        });
        Ok(Self { address, stop, server: tokio::spawn(server.into_future()) })
    }

    /// `http://127.0.0.1:PORT`, without a slash at the end.
    #[must_use]
    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// Takes no more calls, and ends those under way after at most a second.
    pub async fn stop(mut self) {
        let _ = self.stop.send(());
        if tokio::time::timeout(Duration::from_secs(1), &mut self.server).await.is_err() {
            self.server.abort();
        }
    }
}

fn routes(world: &Shared) -> Router {
    Router::new()
        .merge(api::routes(world))
        .nest("/_control", control::routes())
        .fallback(async || GhlError::plain(StatusCode::NOT_FOUND))
        .with_state(Arc::clone(world))
}

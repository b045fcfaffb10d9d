//! The clients' connections: which of a connection's calls is the first one, which pays for it.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use axum::extract::connect_info::Connected;
use axum::serve::{IncomingStream, Listener};
use tokio::net::{TcpListener, TcpStream};

/// A client's connection. Clones are the same one.
#[derive(Clone, Default)]
pub(crate) struct Connection(Arc<AtomicBool>);

impl Connection {
    /// Whether this is the first call; it is only once.
    pub(crate) fn is_new(&self) -> bool {
        !self.0.swap(true, Ordering::Relaxed)
    }
}

/// Accepts connections that send at once.
pub(crate) struct PromptListener(pub(crate) TcpListener);

impl Listener for PromptListener {
    type Io = TcpStream;
    type Addr = SocketAddr;

    async fn accept(&mut self) -> (TcpStream, SocketAddr) {
        let (stream, address) = Listener::accept(&mut self.0).await;
        // Without this an answer's second packet waits 40 ms for the client's acknowledgement.
        let _ = stream.set_nodelay(true);
        (stream, address)
    }

    fn local_addr(&self) -> io::Result<SocketAddr> {
        self.0.local_addr()
    }
}

impl Connected<IncomingStream<'_, PromptListener>> for Connection {
    fn connect_info(_: IncomingStream<'_, PromptListener>) -> Self {
        Self::default()
    }
}

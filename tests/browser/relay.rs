//! The network between browser and stack, which can be cut: what happens in a tunnel, to a laptop that sleeps, and when API Gateway
//! closes a connection after two hours.

use std::net::SocketAddr;

use tokio::{
    io::copy_bidirectional,
    net::{TcpListener, TcpStream},
    sync::watch,
};

/// Passes TCP connections on until it is cut; from then on closes them all, and new ones at once, until restored.
pub(crate) struct Relay {
    pub(crate) address: SocketAddr,
    open: watch::Sender<bool>,
}

impl Relay {
    /// `target`: `host:port`.
    pub(crate) async fn to(target: &str) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let (open, is_open) = watch::channel(true);
        tokio::spawn(accept(listener, target.to_owned(), is_open));
        Self { address, open }
    }

    pub(crate) fn cut(&self) {
        self.open.send(false).unwrap();
    }

    pub(crate) fn restore(&self) {
        self.open.send(true).unwrap();
    }
}

async fn accept(listener: TcpListener, target: String, is_open: watch::Receiver<bool>) {
    while let Ok((browser, _)) = listener.accept().await {
        if *is_open.borrow() {
            tokio::spawn(pass_on(browser, target.clone(), is_open.clone()));
        }
    }
}

async fn pass_on(mut browser: TcpStream, target: String, mut is_open: watch::Receiver<bool>) {
    let Ok(mut stack) = TcpStream::connect(target).await else { return };
    tokio::select! {
        _ = copy_bidirectional(&mut browser, &mut stack) => {}
        _ = is_open.wait_for(|open| !open) => {}
    }
}

//! Lets containers reach servers that listen on 127.0.0.1 only.

use std::io;
use std::net::{Ipv4Addr, Shutdown, SocketAddr, SocketAddrV4, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use anyhow::{Context, Result};

const CONNECT: Duration = Duration::from_secs(2);

/// Listens on the address of Docker's bridge, which no other machine reaches, and passes connections on to the same
/// ports of 127.0.0.1. Dropping it closes the doors.
pub(crate) struct Forwarder {
    closed: Arc<AtomicBool>,
    doors: Vec<(SocketAddr, JoinHandle<()>)>,
}

impl Forwarder {
    pub(crate) fn start(bridge: Ipv4Addr, ports: impl IntoIterator<Item = u16>) -> Result<Self> {
        let mut forwarder = Self { closed: Arc::default(), doors: Vec::new() };
        for port in ports {
            forwarder.open(bridge, port)?;
        }
        Ok(forwarder)
    }

    fn open(&mut self, bridge: Ipv4Addr, port: u16) -> Result<()> {
        let listener = TcpListener::bind((bridge, port))
            .with_context(|| format!("can't listen on {bridge}:{port}, where containers would reach this machine"))?;
        let address = listener.local_addr()?;
        let closed = Arc::clone(&self.closed);
        let door = thread::spawn(move || {
            for caller in listener.incoming() {
                if closed.load(Ordering::SeqCst) {
                    return;
                }
                if let Ok(caller) = caller {
                    thread::spawn(move || pass_on(&caller, port));
                }
            }
        });
        self.doors.push((address, door));
        Ok(())
    }
}

impl Drop for Forwarder {
    fn drop(&mut self) {
        self.closed.store(true, Ordering::SeqCst);
        for (address, door) in self.doors.drain(..) {
            // Each door looks whether it is closed when somebody knocks.
            if TcpStream::connect_timeout(&address, CONNECT).is_ok() {
                let _ = door.join();
            }
        }
    }
}

/// Carries bytes both ways until both sides have said all; a server that doesn't answer looks closed to the caller.
fn pass_on(caller: &TcpStream, port: u16) {
    let server = SocketAddr::V4(SocketAddrV4::new(Ipv4Addr::LOCALHOST, port));
    let Ok(server) = TcpStream::connect_timeout(&server, CONNECT) else { return };
    let _ = (caller.set_nodelay(true), server.set_nodelay(true));
    thread::scope(|scope| {
        scope.spawn(|| carry(caller, &server));
        carry(&server, caller);
    });
}

fn carry(mut from: &TcpStream, mut to: &TcpStream) {
    let _ = io::copy(&mut from, &mut to);
    // The end is carried on; who broke off needs no answer.
    let _ = to.shutdown(Shutdown::Write);
}

// Elsewhere the loopback has but one address.
#[cfg(all(test, target_os = "linux"))]
mod tests {
    use std::io::{Read, Write};

    use super::*;

    #[test]
    fn what_is_said_on_one_side_is_heard_on_the_other_until_it_is_closed() {
        let server = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = server.local_addr().unwrap().port();
        // Any other address of the loopback stands for the bridge.
        let bridge = Ipv4Addr::new(127, 0, 0, 2);
        let forwarder = Forwarder::start(bridge, [port]).unwrap();

        let mut caller = TcpStream::connect((bridge, port)).unwrap();
        caller.write_all(b"ping").unwrap();
        caller.shutdown(Shutdown::Write).unwrap();
        let (mut served, _) = server.accept().unwrap();
        let mut heard = String::new();
        served.read_to_string(&mut heard).unwrap();
        served.write_all(b"pong").unwrap();
        drop(served);
        let mut answered = String::new();
        caller.read_to_string(&mut answered).unwrap();
        assert_eq!((heard.as_str(), answered.as_str()), ("ping", "pong"));

        drop(forwarder);
        assert!(TcpStream::connect((bridge, port)).is_err());
    }
}

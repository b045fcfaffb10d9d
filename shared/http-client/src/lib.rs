//! The HTTP clients of those who call GHL, the database and AWS: one TLS, whose certificates are read once per process.
//!
//! | module | what it is for |
//! |---|---|
//! | `tls` | the system's root certificates, from one file |
//! | `aws` | [`for_aws`]: the AWS SDK's calls |
//!
//! Clients keep connections open and follow no redirect, which would take the token or the service key along, to any host. How
//! long a call to GHL or the database may take is said with each request.

#![cfg_attr(test, allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing, clippy::panic))]

mod aws;
mod tls;

use std::io;
use std::time::Duration;

pub use aws::for_aws;
use reqwest::{Client, IntoUrl, Method, RequestBuilder, redirect};

/// Longest wait for a connection. A host that doesn't even take one won't answer either.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);

/// How long a connection is kept that nobody uses. Functions wait longer than a second between their calls, and a new
/// connection costs three round trips; after a minute the server or something before it may have dropped it.
const IDLE_TIMEOUT: Duration = Duration::from_secs(60);

/// A client that follows no redirect. Clones share its connections.
#[derive(Clone, Debug)]
pub struct HttpClient(Client);

impl HttpClient {
    /// A client without connections yet.
    ///
    /// # Errors
    /// If TLS can't be set up, for want of certificates.
    pub fn new() -> io::Result<Self> {
        client(CONNECT_TIMEOUT).map(Self)
    }

    /// A request, given up after `timeout`, connection and body included.
    pub fn request(&self, method: Method, url: impl IntoUrl, timeout: Duration) -> RequestBuilder {
        self.0.request(method, url).timeout(timeout)
    }
}

fn client(connect_timeout: Duration) -> io::Result<Client> {
    Client::builder()
        .tls_backend_preconfigured(tls::config().map_err(io::Error::other)?)
        .redirect(redirect::Policy::none())
        .connect_timeout(connect_timeout)
        .pool_idle_timeout(IDLE_TIMEOUT)
        .build()
        .map_err(io::Error::other)
}

#[cfg(test)]
mod tests {
    use std::net::TcpListener;

    use tokio::time::Instant;
    use wiremock::matchers::any;
    use wiremock::{Mock, MockServer, ResponseTemplate};

    use super::*;

    #[tokio::test]
    async fn a_redirect_is_not_followed() {
        let (server, elsewhere) = (MockServer::start().await, MockServer::start().await);
        let redirect = ResponseTemplate::new(307).insert_header("location", elsewhere.uri());
        Mock::given(any()).respond_with(redirect).mount(&server).await;
        let request = HttpClient::new().unwrap().request(Method::GET, server.uri(), Duration::from_secs(5));
        assert_eq!(request.send().await.unwrap().status(), 307);
        assert!(elsewhere.received_requests().await.unwrap().is_empty());
    }

    #[tokio::test]
    async fn each_request_has_its_own_time_out() {
        // Takes connections, as the system does for it, and never answers.
        let silent = TcpListener::bind("127.0.0.1:0").unwrap();
        let url = format!("http://{}", silent.local_addr().unwrap());
        let http = HttpClient::new().unwrap();
        for wait in [Duration::from_millis(100), Duration::from_millis(300)] {
            let begun = Instant::now();
            let error = http.request(Method::GET, &url, wait).send().await.unwrap_err();
            assert!(error.is_timeout() && begun.elapsed() >= wait, "{error:?}");
            assert!(begun.elapsed() < wait + Duration::from_secs(3), "{:?}", begun.elapsed());
        }
    }
}

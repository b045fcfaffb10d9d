//! Passes calls on to PostgREST.

use std::io;
use std::sync::Arc;

use anyhow::{Context, Result};
use axum::Json;
use axum::body::{Body, Bytes};
use axum::extract::{ConnectInfo, Request, State};
use axum::http::{HeaderMap, HeaderName, HeaderValue, StatusCode, Uri, header};
use axum::response::{IntoResponse, Response};
use futures::stream;
use hyper::body::Incoming;
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioExecutor;
use serde_json::json;

use crate::connection::Connection;
use crate::control::{Calls, Faults};

const PREFIX: &str = "/rest/v1";
const API_KEY: HeaderName = HeaderName::from_static("apikey");

pub(crate) struct Proxy {
    client: Client<HttpConnector, Body>,
    /// PostgREST's address, without a slash at its end.
    upstream: String,
}

impl Proxy {
    pub(crate) fn new(postgrest_url: &str) -> Result<Self> {
        let upstream = postgrest_url.trim_end_matches('/').to_owned();
        upstream.parse::<Uri>().with_context(|| format!("--postgrest-url {upstream} is no URL"))?;
        let mut connector = HttpConnector::new();
        connector.set_nodelay(true);
        Ok(Self { client: Client::builder(TokioExecutor::new()).build(connector), upstream })
    }

    fn target(&self, uri: &Uri) -> Option<Uri> {
        let path = uri.path_and_query()?.as_str().strip_prefix(PREFIX)?;
        format!("{}{path}", self.upstream).parse().ok()
    }
}

pub(crate) async fn forward(
    State((proxy, faults, calls)): State<(Arc<Proxy>, Arc<Faults>, Arc<Calls>)>,
    ConnectInfo(connection): ConnectInfo<Connection>,
    mut request: Request,
) -> Response {
    let path = request.uri().path().trim_start_matches(PREFIX).to_owned();
    calls.count(&path);
    tokio::time::sleep(faults.wait(connection.is_new())).await;
    if let Some(until) = faults.hangs_until() {
        // A caller that gives up takes this call with it: nothing is done for it later.
        tokio::time::sleep_until(until).await;
    }
    if faults.refuses() {
        return unavailable("refused on request of a test");
    }
    let Some(target) = proxy.target(request.uri()) else {
        return StatusCode::BAD_REQUEST.into_response();
    };
    *request.uri_mut() = target;
    rewrite(request.headers_mut());
    match proxy.client.request(request).await {
        Ok(mut response) => {
            response.headers_mut().remove(header::CONNECTION);
            if faults.loses_answer(&path) { lost(response).await } else { response.map(Body::new) }
        }
        Err(error) => unavailable(&format!("PostgREST can't be reached: {error}")),
    }
}

/// Ends the connection instead of the answer, once that is there: whatever was to be done has been done.
async fn lost(answer: Response<Incoming>) -> Response {
    let _ = axum::body::to_bytes(Body::new(answer.into_body()), usize::MAX).await;
    let end = stream::once(async { Err::<Bytes, _>(io::Error::from(io::ErrorKind::ConnectionReset)) });
    Response::new(Body::from_stream(end))
}

/// As Supabase's gateway does: an API key alone also says who calls.
fn rewrite(headers: &mut HeaderMap) {
    headers.remove(header::HOST);
    headers.remove(header::CONNECTION);
    let Some(key) = headers.get(&API_KEY).and_then(|key| key.to_str().ok()) else { return };
    if !headers.contains_key(header::AUTHORIZATION)
        && let Ok(bearer) = HeaderValue::from_str(&format!("Bearer {key}"))
    {
        headers.insert(header::AUTHORIZATION, bearer);
    }
}

fn unavailable(why: &str) -> Response {
    (StatusCode::SERVICE_UNAVAILABLE, Json(json!({ "message": why }))).into_response()
}

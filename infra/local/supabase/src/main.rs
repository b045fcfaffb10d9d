//! Supabase's front door on one machine.
//!
//! A Supabase project answers under one address: `/rest/v1` is PostgREST and `/auth/v1` signs users in. This server
//! does the same for the local stack, so that the system is configured as it is in the cloud, with one `SUPABASE_URL`:
//!
//! | path | what it does |
//! |---|---|
//! | `/rest/v1/...` | passed on to PostgREST over kept connections, streamed both ways ([`proxy`]) |
//! | `POST /auth/v1/token?grant_type=password` | signs one of the demo users in ([`auth`]) |
//! | `POST /auth/v1/token?grant_type=refresh_token` | renews a session ([`auth`]) |
//! | `GET /auth/v1/.well-known/jwks.json` | no keys: the demo tokens are HS256 |
//! | `GET`, `PUT`, `DELETE /_control` | makes the database slow or unreachable, for tests ([`control`]) |
#![cfg_attr(test, allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing))]

mod auth;
mod control;
mod cors;
mod proxy;

use std::sync::Arc;

use anyhow::{Context, Result};
use axum::Router;
use axum::routing::{any, get, post};
use axum::serve::ListenerExt;
use clap::Parser;
use tokio::net::TcpListener;
use tokio::signal::unix::{SignalKind, signal};

use crate::auth::{Auth, User};
use crate::control::{Calls, Faults};
use crate::proxy::Proxy;

/// Serves PostgREST and sign-in the way a Supabase project does, on 127.0.0.1.
#[derive(Parser)]
struct Options {
    /// Port to listen on
    #[arg(long)]
    port: u16,
    /// Where PostgREST listens
    #[arg(long)]
    postgrest_url: String,
    /// Secret that signs the users' tokens (HS256)
    #[arg(long, env = "JWT_SECRET", hide_env_values = true)]
    jwt_secret: String,
    /// Users who may sign in: email:password:role:id, separated by commas
    #[arg(long, env = "DEMO_USERS", hide_env_values = true, value_delimiter = ',')]
    demo_users: Vec<User>,
}

#[tokio::main]
async fn main() -> Result<()> {
    let options = Options::parse();
    let address = format!("127.0.0.1:{}", options.port);
    let listener = TcpListener::bind(&address).await.with_context(|| format!("can't listen on {address}"))?;
    let auth = Auth::new(&options.jwt_secret, &format!("http://{address}"), options.demo_users);
    let app = router(Arc::new(auth), Arc::new(Proxy::new(&options.postgrest_url)?));

    let mut stop = signal(SignalKind::terminate())?;
    let stopped = async move {
        stop.recv().await;
    };
    // Without this an answer's second packet waits 40 ms for the client's acknowledgement.
    let listener = listener.tap_io(|connection| {
        let _ = connection.set_nodelay(true);
    });
    // Kept connections would hold up a graceful shutdown: a stopped server drops them.
    tokio::select! {
        served = axum::serve(listener, app) => served.context("the server failed"),
        () = stopped => Ok(()),
    }
}

fn router(auth: Arc<Auth>, proxy: Arc<Proxy>) -> Router {
    let (faults, calls) = (Arc::new(Faults::default()), Arc::new(Calls::default()));
    let counted = get(control::calls).delete(control::forget_calls).with_state(Arc::clone(&calls));
    let control = get(control::show).put(control::set).delete(control::clear).with_state(Arc::clone(&faults));
    let rest = any(proxy::forward).with_state((proxy, faults, calls));
    Router::new()
        // PostgREST's description of itself: a wildcard doesn't take an empty path.
        .route("/rest/v1/", rest.clone())
        .route("/rest/v1/{*path}", rest)
        .route("/auth/v1/token", post(auth::token).with_state(auth))
        .route("/auth/v1/logout", post(auth::logout))
        .route("/auth/v1/.well-known/jwks.json", get(auth::jwks))
        .route("/_control", control)
        .route("/_control/calls", counted)
        .layer(axum::middleware::from_fn(cors::allow_everyone))
}

#[cfg(test)]
mod tests;

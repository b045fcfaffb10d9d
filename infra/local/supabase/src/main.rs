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
//! | `POST /auth/v1/admin/generate_link`, `GET /go/...` | makes an address that signs in once; signs in ([`sign_in`]) |
//! | `GET /auth/v1/.well-known/jwks.json` | no keys: the demo tokens are HS256 |
//! | `GET`, `PUT`, `DELETE /_control` | makes the database slow, unreachable, silent or forgetful, for tests ([`control`]) |
//!
//! With `--far` the database is in another region ([`distance`]).
#![cfg_attr(test, allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing))]

mod auth;
mod connection;
mod control;
mod cors;
mod distance;
mod proxy;
mod sign_in;

use std::sync::Arc;

use anyhow::{Context, Result};
use axum::Router;
use axum::routing::{any, get, post};
use clap::Parser;
use tokio::net::TcpListener;
use tokio::signal::unix::{SignalKind, signal};

use crate::auth::{Auth, User};
use crate::connection::{Connection, PromptListener};
use crate::control::{Calls, Faults};
use crate::proxy::Proxy;
use crate::sign_in::Addresses;

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
    /// The database is in another region: 40 ms away, at times 300 ms, now and then 2 s
    #[arg(long)]
    far: bool,
}

#[tokio::main]
async fn main() -> Result<()> {
    let options = Options::parse();
    let address = format!("127.0.0.1:{}", options.port);
    let listener = TcpListener::bind(&address).await.with_context(|| format!("can't listen on {address}"))?;
    let auth = Auth::new(&options.jwt_secret, &format!("http://{address}"), options.demo_users);
    let app = router(Arc::new(auth), Arc::new(Proxy::new(&options.postgrest_url)?), options.far);

    let mut stop = signal(SignalKind::terminate())?;
    let stopped = async move {
        stop.recv().await;
    };
    let listener = PromptListener(listener);
    // Kept connections would hold up a graceful shutdown: a stopped server drops them.
    tokio::select! {
        served = axum::serve(listener, app.into_make_service_with_connect_info::<Connection>()) => served.context("the server failed"),
        () = stopped => Ok(()),
    }
}

fn router(auth: Arc<Auth>, proxy: Arc<Proxy>, far: bool) -> Router {
    let (faults, calls) = (Arc::new(Faults::new(far)), Arc::new(Calls::default()));
    let counted = get(control::calls).delete(control::forget_calls).with_state(Arc::clone(&calls));
    let control = get(control::show).put(control::set).delete(control::clear).with_state(Arc::clone(&faults));
    let rest = any(proxy::forward).with_state((proxy, faults, calls));
    Router::new()
        // PostgREST's description of itself: a wildcard doesn't take an empty path.
        .route("/rest/v1/", rest.clone())
        .route("/rest/v1/{*path}", rest)
        .route("/auth/v1/token", post(auth::token).with_state(Arc::clone(&auth)))
        .route("/auth/v1/logout", post(auth::logout))
        .route("/auth/v1/.well-known/jwks.json", get(auth::jwks))
        .route("/_control", control)
        .route("/_control/calls", counted)
        .layer(axum::middleware::from_fn(cors::allow_everyone))
        .merge(sign_in::routes(auth, Addresses::default()))
}

#[cfg(test)]
mod tests;

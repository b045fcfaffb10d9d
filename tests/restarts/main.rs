//! `cargo xtask up`, killed at each stage of its start and while it runs, comes up again by the same command.
//!
//! The stack is `target/local/stacks/killed`; `RESTARTS_PORT_BASE` is the first of its ports (default: 8550).
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod stage;
mod start;

use std::{fs, net::TcpListener};

use crate::{
    stage::Stage::{Listens, Migrated, Path, Says},
    start::{Killed, Local},
};

const CLOUD: u16 = 0;
const POSTGRES: u16 = 1;
const POSTGREST: u16 = 2;
const SUPABASE: u16 = 3;
const GHL: u16 = 4;

#[tokio::test]
async fn a_stack_that_was_killed_comes_up_again() {
    let local = Local::empty();
    // From nothing, each time a bit further on what the time before has left.
    for (stage, killed) in [
        (Says("Building the functions"), Killed::Alone),
        (Path("keys.json"), Killed::WithAll),
        (Path("postgres-data.new"), Killed::Alone),
        (Path("postgres-data.new/global"), Killed::WithAll),
        (Path("postgres-data/PG_VERSION"), Killed::Alone),
        (Path("postgres-data/postmaster.pid"), Killed::WithAll),
        (Listens(POSTGRES), Killed::Alone),
        (Migrated, Killed::WithAll),
        (Listens(POSTGREST), Killed::WithAll),
        (Listens(SUPABASE), Killed::Alone),
        (Listens(CLOUD), Killed::WithAll),
        (Listens(GHL), Killed::Alone),
        (Path("stack.json"), Killed::WithAll),
        (Says("Ready."), Killed::WhileTheRestHangs),
    ] {
        local.start(&["up"]).await.until(stage).await.kill(killed).await;
    }

    // A database of newer code: no manual step, but to say that it may be forgotten.
    let up = local.start(&["up"]).await.until(Says("Ready.")).await;
    local.record_a_migration_of_the_future().await;
    up.kill(Killed::WithAll).await;
    local.start(&["up"]).await.fails_with("the same command with --reset").await;
    for (stage, killed) in [
        (Path("postgres-data.old"), Killed::WithAll),
        (Path("postgres-data.new"), Killed::Alone),
        (Path("postgres-data.new/base"), Killed::WithAll),
        (Migrated, Killed::Alone),
    ] {
        local.start(&["up", "--reset"]).await.until(stage).await.kill(killed).await;
    }

    // Somebody else's port is named, and left alone.
    let stranger = TcpListener::bind(("127.0.0.1", local.port(GHL))).unwrap();
    local.start(&["up"]).await.fails_with(&format!("port {} (fake GHL) is in use", local.port(GHL))).await;
    drop(stranger);

    local.start(&["demo", "--exit", "--orders", "20"]).await.succeeds().await;
    for port in [CLOUD, POSTGRES, POSTGREST, SUPABASE, GHL] {
        TcpListener::bind(("127.0.0.1", local.port(port))).expect("nothing is left running");
    }
    fs::remove_dir_all(local.directory()).unwrap();
}

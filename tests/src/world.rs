//! The stack under test, for one test alone.

use std::{ops::Deref, time::Duration};

use serde_json::{Value, json};
use tokio::sync::{Mutex, MutexGuard};

use crate::{
    api::{Api, As},
    cloud::Cloud,
    database::Database,
    fake_ghl::FakeGhl,
    stack::Stack,
    waiting::{A_MOMENT, until},
};

/// Held by the one test that has the stack.
static TURN: Mutex<()> = Mutex::const_new(());

/// An idle stack that no other test of this process touches.
pub struct World {
    /// Where it is.
    pub stack: Stack,
    /// Its HTTP API.
    pub api: Api,
    /// Its GHL.
    pub ghl: FakeGhl,
    /// Its database.
    pub database: Database,
    _turn: MutexGuard<'static, ()>,
}

impl World {
    /// An idle stack with so many ordinary orders in GHL, none of them stored yet.
    pub async fn with_orders(orders: u32) -> Self {
        let turn = TURN.lock().await;
        let stack = Stack::running();
        let (api, ghl, database) = (Api::new(&stack), FakeGhl::new(&stack), Database::connect(&stack).await);
        let world = Self { stack, api, ghl, database, _turn: turn };
        world.move_database(0).await;
        world.until_idle().await;
        world.ghl.reset(orders).await;
        world.database.forget_orders().await;
        world
    }

    /// From now on every call of the database takes so many milliseconds more, as in another region.
    pub async fn move_database(&self, latency_ms: u64) {
        self.order_of_supabase(json!({ "latencyMs": latency_ms })).await;
    }

    /// The database is this far away, and answers nothing for so long; then whoever still waits is served.
    pub async fn pause_database(&self, latency_ms: u64, ms: u64) {
        self.order_of_supabase(json!({ "latencyMs": latency_ms, "hangForMs": ms })).await;
    }

    /// Whether the database is far from now on (`infra/local/supabase`); whether it was before.
    pub async fn set_far(&self, far: bool) -> bool {
        let url = format!("{}/_control", self.supabase_url());
        let answer = crate::http().get(url).send().await.expect("the local Supabase answers");
        let before: Value = answer.json().await.expect("it shows what is set");
        self.order_of_supabase(json!({ "far": far })).await;
        before["far"] == true
    }

    async fn order_of_supabase(&self, order: Value) {
        let url = format!("{}/_control", self.supabase_url());
        let answer = crate::http().put(url).json(&order).send().await;
        assert!(answer.expect("the local Supabase answers").status().is_success());
    }

    /// The database is out of reach for so long, as when Supabase's PostgREST is away.
    pub async fn take_database_away(&self, ms: u64) {
        let url = format!("{}/_control", self.supabase_url());
        let answer = crate::http().put(url).json(&json!({ "refuseForMs": ms })).send().await;
        assert!(answer.expect("the local Supabase answers").status().is_success());
    }

    /// The next answer of a SQL function gets lost, after the function has committed.
    pub async fn lose_answer(&self, function: &str) {
        self.order_of_supabase(json!({ "loseAnswers": { format!("/rpc/{function}"): 1 } })).await;
    }

    /// Its AWS account.
    pub fn cloud(&self) -> Cloud<'_> {
        Cloud::of(&self.stack)
    }

    /// No run is in progress and none is cooling down. One that a failed test left behind is cancelled.
    async fn until_idle(&self) {
        until("an idle stack", A_MOMENT, async || {
            let status = self.status().await;
            if status["syncInProgress"] == true {
                self.api.post(As::Admin, "/api/ghl/orders/sync/cancel").await;
                return Err(status.to_string());
            }
            self.database.end_cooldown().await;
            Ok(())
        })
        .await;
    }

    /// `GET /api/qrapp/sync-status`.
    pub async fn status(&self) -> Value {
        self.api.get(As::Member, "/api/qrapp/sync-status").await.ok()
    }

    /// No order stands among the failures: also nothing that was stored and yet failed on its way out.
    pub async fn assert_no_failures(&self) {
        until("empty queues", A_MOMENT, async || {
            self.cloud().is_empty("orders").await?;
            self.cloud().is_empty("tickets").await
        })
        .await;
        let failures = self.api.get(As::Member, "/api/qrapp/failures").await.ok();
        assert_eq!(failures["failures"], json!([]));
    }

    /// A run's row, once it has left `Syncing`.
    pub async fn until_ended(&self, run_id: &str, patience: Duration) -> Value {
        until(&format!("the end of run {run_id}"), patience, async || {
            let run = self.database.run(run_id).await;
            if run["state"] == "Syncing" { Err(run.to_string()) } else { Ok(run) }
        })
        .await
    }

    /// Runs to the end of `Syncing` and past the cool-down; the run's row.
    pub async fn complete(&self, start: &str, patience: Duration) -> Value {
        let run_id = self.api.start(start).await;
        let run = self.until_ended(&run_id, patience).await;
        assert_eq!(run["state"], "Delay", "{run}");
        assert_adds_up(&run);
        self.database.end_cooldown().await;
        run
    }
}

impl Deref for World {
    type Target = Stack;

    fn deref(&self) -> &Stack {
        &self.stack
    }
}

/// Listed = synced + skipped + failed + not attempted, in a run's row, and nothing but a run that broke off has the latter.
pub fn assert_adds_up(run: &Value) {
    let left = not_attempted(run);
    assert!(left == 0 || run["state"] == "Error" || run["state"] == "Cancelled", "{run}");
}

/// How many of a run's orders have no outcome: once it has broken off, those it didn't attempt.
pub fn not_attempted(run: &Value) -> u64 {
    let count = |key: &str| run[key].as_u64().unwrap_or_else(|| panic!("{key} of {run}"));
    let decided = count("synced") + count("skipped") + count("failed");
    count("listed").checked_sub(decided).unwrap_or_else(|| panic!("more than was listed: {run}"))
}

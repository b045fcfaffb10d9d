//! Plays one history.

use rand::rngs::StdRng;
use rand::seq::SliceRandom;
use rand::{RngExt, SeedableRng};
use serde_json::{Value, json};
use tokio_postgres::Client;

use super::model::{GhlOrder, People, Ticket};
use crate::harness::call;

/// Prints what happened if a history fails, however it does.
struct Log {
    seed: u64,
    lines: Vec<String>,
}

impl Log {
    fn note(&mut self, line: String) {
        self.lines.push(line);
    }
}

impl Drop for Log {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("history failed; repeat it with TEST_SEED={} TEST_HISTORIES=1", self.seed);
            for line in &self.lines {
                eprintln!("  {line}");
            }
        }
    }
}

struct Player<'a> {
    server: &'a Client,
    id: String,
    random: StdRng,
    ghl: GhlOrder,
    people: People,
    /// Reads whose upsert hasn't happened yet, or will happen again.
    reads: Vec<Value>,
    second: u32,
    log: Log,
}

/// Plays the history of this seed: three times some events, then rest.
pub(super) async fn play(server: &Client, seed: u64) {
    let mut random = StdRng::seed_from_u64(seed);
    let id = format!("history {seed}");
    let ghl = GhlOrder::new(id.clone(), &mut random);
    let log = Log { seed, lines: Vec::new() };
    let mut player = Player { server, id, random, ghl, people: People::default(), reads: Vec::new(), second: 0, log };
    if player.random.random_bool(0.3) {
        player.begin_with_tickets_of_the_original_app().await;
    }
    for _ in 0..3 {
        for _ in 0..player.random.random_range(1..10) {
            player.event().await;
        }
        player.rest().await;
    }
}

impl Player<'_> {
    async fn event(&mut self) {
        match self.random.random_range(0..16) {
            0..=3 => {
                self.ghl.edit(&mut self.random);
                self.log.note(format!("GHL has {:?}", self.ghl));
            }
            4..=6 => {
                let readable = self.random.random_bool(0.9);
                self.read(readable);
            }
            7..=9 => self.upsert_some_read().await,
            10 => self.reconcile().await,
            11 => self.gate("validate_ticket").await,
            12 => self.gate("undo_ticket").await,
            13 => self.somebody_sets("used").await,
            14 => self.somebody_sets("cancelled").await,
            _ => self.somebody_sets("live").await,
        }
    }

    fn read(&mut self, readable: bool) {
        self.second += 1;
        self.reads.push(self.ghl.read(self.second, readable));
        self.log.note(format!("read at {} (readable: {readable})", self.second));
    }

    /// One of the reads, not always the oldest, and not always for the last time.
    async fn upsert_some_read(&mut self) {
        if self.reads.is_empty() {
            return;
        }
        let which = self.random.random_range(0..self.reads.len());
        let read = if self.random.random_bool(0.7) { self.reads.swap_remove(which) } else { self.reads[which].clone() };
        self.upsert(read).await;
        // Else the worker dies before it hands over.
        if self.random.random_bool(0.5) {
            self.reconcile().await;
        }
    }

    async fn upsert(&mut self, read: Value) {
        let at = read["fetched_at"].clone();
        let answer = call(self.server, "upsert_orders", json!({"orders": [read]})).await;
        self.log.note(format!("upsert of the read at {at}: {}", answer["orders"][0]["result"]));
    }

    async fn reconcile(&mut self) {
        let answer = call(self.server, "reconcile_tickets", json!({"orders": [{"order_id": self.id}]})).await;
        self.log.note(format!("reconcile: {}", answer["orders"]));
    }

    async fn some_ticket(&mut self) -> Option<Ticket> {
        let tickets = self.tickets().await;
        if tickets.is_empty() {
            return None;
        }
        Some(tickets[self.random.random_range(0..tickets.len())].clone())
    }

    async fn gate(&mut self, function: &str) {
        let Some(ticket) = self.some_ticket().await else { return };
        let answer = call(self.server, function, json!({"ticket_id": ticket.id, "by": "gate"})).await;
        self.log.note(format!("{function} {}: {answer}", ticket.id));
        match answer["result"].as_str() {
            Some("admitted") => drop(self.people.validated.insert(ticket.id, "validated".to_owned())),
            Some("undone") => drop(self.people.validated.remove(&ticket.id)),
            _ => {}
        }
    }

    /// The original app's scanner or a person in the table editor: a plain UPDATE.
    async fn somebody_sets(&mut self, status: &str) {
        let Some(ticket) = self.some_ticket().await else { return };
        // The original's scanner looks before it writes; nobody revives a ticket that was scanned.
        if status == "used" && ticket.status != "live" || status == "live" && ticket.status != "cancelled" {
            return;
        }
        let update = "update public.ghl_qr_tickets set status = $2 where ticket_id = $1";
        self.server.execute(update, &[&ticket.id, &status]).await.unwrap();
        self.log.note(format!("somebody sets {ticket:?} to {status}"));
        if ticket.status == status {
            return;
        }
        self.people.validated.remove(&ticket.id);
        self.people.cancelled.remove(&ticket.id);
        match status {
            "used" => drop(self.people.validated.insert(ticket.id, status.to_owned())),
            "cancelled" => drop(self.people.cancelled.insert(ticket.id)),
            _ => {}
        }
    }

    async fn begin_with_tickets_of_the_original_app(&mut self) {
        let order = "insert into public.ghl_qr_orders (order_id) values ($1)";
        self.server.execute(order, &[&self.id]).await.unwrap();
        for _ in 0..self.random.random_range(1..7) {
            let label = ["VIP", " vip", "Regular", "Late", "Unknown"][self.random.random_range(0..5)];
            let status = ["live", "live", "used", "validated", "cancelled"][self.random.random_range(0..5)];
            let insert = "insert into public.ghl_qr_tickets (order_id, ticket_type, status) values ($1, $2, $3) returning ticket_id";
            let id: i32 = self.server.query_one(insert, &[&self.id, &label, &status]).await.unwrap().get(0);
            match status {
                "cancelled" => drop(self.people.cancelled.insert(id)),
                "live" => {}
                _ => drop(self.people.validated.insert(id, status.to_owned())),
            }
        }
        self.log.note("begins with tickets of the original app".to_owned());
    }

    /// Everything under way arrives, in any order, the newest read among it; then only what is known to be due is
    /// reconciled, as pulses do it.
    async fn rest(&mut self) {
        self.read(true);
        let mut reads = std::mem::take(&mut self.reads);
        reads.shuffle(&mut self.random);
        for read in reads {
            self.upsert(read).await;
        }
        while self.is_due().await {
            self.reconcile().await;
        }
        let tickets = self.tickets().await;
        if let Err(broken) = self.people.check(&self.ghl, &tickets) {
            panic!("{broken}\n{:#?}\n{tickets:#?}", self.ghl);
        }

        let before = self.row_versions().await;
        self.reconcile().await;
        assert_eq!(self.row_versions().await, before, "reconciling again changes nothing");
    }

    async fn is_due(&self) -> bool {
        let due = call(self.server, "due_orders", json!({"older_than_ms": 0, "limit": 1000})).await;
        due["orders"].as_array().unwrap().iter().any(|order| order["order_id"] == self.id.as_str())
    }

    async fn tickets(&self) -> Vec<Ticket> {
        let query = "select to_jsonb(t) from public.ghl_qr_tickets t where order_id = $1 order by ticket_id";
        let rows = self.server.query(query, &[&self.id]).await.unwrap();
        rows.iter().map(|row| Ticket::from_row(&row.get(0))).collect()
    }

    async fn row_versions(&self) -> Vec<String> {
        let query = "select xmin::text from public.ghl_qr_tickets where order_id = $1
            union all select xmin::text from public.ghl_qr_orders where order_id = $1 order by 1";
        self.server.query(query, &[&self.id]).await.unwrap().iter().map(|row| row.get(0)).collect()
    }
}

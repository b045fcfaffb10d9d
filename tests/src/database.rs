//! What is stored.

use std::time::Duration;

use serde_json::Value;
use tokio_postgres::{Client, NoTls};

use crate::{
    stack::Stack,
    waiting::{A_MOMENT, until},
};

/// One connection, as the owner of the schema.
pub struct Database {
    client: Client,
}

impl Database {
    /// Connects to the database of a stack.
    pub async fn connect(stack: &Stack) -> Self {
        let (client, connection) =
            tokio_postgres::connect(&stack.database_url, NoTls).await.expect("the stack's database answers");
        tokio::spawn(connection);
        Self { client }
    }

    /// A new connection to a server that has just crashed and recovers. The crash is over once it has taken this one: a connection that
    /// is made before would be taken as well.
    pub async fn connect_again(&self, stack: &Stack) -> Self {
        until("the end of the connection from before the crash", A_MOMENT, async || {
            if self.client.is_closed() { Ok(()) } else { Err("it stands".to_owned()) }
        })
        .await;
        until("a database that answers", A_MOMENT, async || {
            let connected = tokio_postgres::connect(&stack.database_url, NoTls).await;
            let (client, connection) = connected.map_err(|error| format!("{error:?}"))?;
            tokio::spawn(connection);
            Ok(Self { client })
        })
        .await
    }

    /// Runs statements.
    pub async fn execute(&self, statements: &str) {
        self.client.batch_execute(statements).await.unwrap_or_else(|error| panic!("{statements}: {error:?}"));
    }

    /// The rows of a query as JSON objects.
    pub async fn rows(&self, query: &str) -> Vec<Value> {
        let query = format!("select to_jsonb(q) from ({query}) as q");
        let rows = self.client.query(&query, &[]).await.unwrap_or_else(|error| panic!("{query}: {error:?}"));
        rows.iter().map(|row| row.get(0)).collect()
    }

    /// Forgets all orders and whatever was known of them, and that something failed, but no run: messages of an old one may still be
    /// on their way.
    pub async fn forget_orders(&self) {
        self.execute(
            "delete from public.ghl_qr_orders; delete from public.sync_order_memory; delete from public.sync_failures;
             delete from public.ghl_qr_tickets_touched; delete from public.gate_scans; delete from public.sync_refunds;
             update public.sync_locations set ghl_refused_at = null, frames_failed_at = null, products_refreshed_at = null;",
        )
        .await;
    }

    /// The clock passes the end of the cool-down.
    pub async fn end_cooldown(&self) {
        self.execute("update public.sync_runs set cooldown_until = clock_timestamp() where state = 'Delay'").await;
    }

    /// An order's row, if it is stored.
    pub async fn order(&self, order_id: &str) -> Option<Value> {
        self.rows(&format!("select * from public.ghl_qr_orders where order_id = '{order_id}'")).await.pop()
    }

    /// An order's tickets, oldest first.
    pub async fn tickets(&self, order_id: &str) -> Vec<Value> {
        let query = "select ticket_id, ticket_type, status from public.ghl_qr_tickets where order_id";
        self.rows(&format!("{query} = '{order_id}' order by ticket_id")).await
    }

    /// The same with everything that is stored of them.
    pub async fn whole_tickets(&self, order_id: &str) -> Vec<Value> {
        self.rows(&format!("select * from public.ghl_qr_tickets where order_id = '{order_id}' order by ticket_id"))
            .await
    }

    /// An order's tickets, once there are `count` of this status and no others.
    pub async fn until_tickets(&self, order_id: &str, count: usize, status: &str) -> Vec<Value> {
        self.until_tickets_within(A_MOMENT, order_id, count, status).await
    }

    /// The same with other patience.
    pub async fn until_tickets_within(
        &self,
        patience: Duration,
        order_id: &str,
        count: usize,
        status: &str,
    ) -> Vec<Value> {
        until(&format!("{count} {status} tickets of {order_id}"), patience, async || {
            let tickets = self.tickets(order_id).await;
            let all = tickets.len() == count && tickets.iter().all(|ticket| ticket["status"] == status);
            if all { Ok(tickets) } else { Err(format!("{tickets:?}")) }
        })
        .await
    }

    /// A run's row.
    pub async fn run(&self, run_id: &str) -> Value {
        let mut rows = self.rows(&format!("select * from public.sync_runs where run_id = '{run_id}'")).await;
        rows.pop().unwrap_or_else(|| panic!("there is no run {run_id}"))
    }

    /// The connections registered for frames.
    pub async fn connections(&self) -> Vec<String> {
        let rows = self.rows("select connection_id from public.sync_connections order by connected_at").await;
        rows.iter().map(|row| row["connection_id"].as_str().unwrap().to_owned()).collect()
    }
}

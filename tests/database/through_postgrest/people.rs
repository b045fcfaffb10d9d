//! Who changes tickets one by one: the gate, the scanner of the original app, and a person in the table editor.

use database::{Database, Error};
use domain::gate::{GateResult, Reason, Scan, ScanId};
use rand::RngExt;
use rand::rngs::StdRng;
use rand::seq::IndexedRandom;
use reqwest::{Client, RequestBuilder};
use serde_json::{Value, json};

use super::evening::Evening;
use crate::postgrest::{PostgRest, api_key};

/// The tables as the original app sees them: with the anonymous key, by PostgREST's own filters.
pub(crate) struct Tables {
    http: Client,
    url: String,
    key: String,
}

impl Tables {
    pub(crate) fn behind(postgrest: &PostgRest) -> Self {
        Self { http: Client::new(), url: postgrest.tables(), key: api_key("anon") }
    }

    /// The number on a QR code of one of the orders of the moment, if it has any ticket yet.
    pub(crate) async fn ticket(&self, evening: &Evening, random: &mut StdRng) -> Result<Option<i64>, String> {
        let order = &evening.orders(random)[0];
        let url = format!("{}/ghl_qr_tickets?select=ticket_id&order_id=eq.{order}", self.url);
        let rows = self.send(self.http.get(url)).await?;
        Ok(rows.choose(random).map(|row| row["ticket_id"].as_i64().unwrap()))
    }

    /// A plain update of one ticket that has one status; whether there was one to update.
    async fn change(&self, ticket: i64, from: &str, to: &str) -> Result<bool, String> {
        let url = format!("{}/ghl_qr_tickets?ticket_id=eq.{ticket}&status=eq.{from}", self.url);
        let request = self.http.patch(url).header("prefer", "return=representation").json(&json!({ "status": to }));
        Ok(!self.send(request).await?.is_empty())
    }

    async fn send(&self, request: RequestBuilder) -> Result<Vec<Value>, String> {
        let answer = request.bearer_auth(&self.key).send().await.map_err(|error| error.to_string())?;
        let (status, body) = (answer.status(), answer.text().await.unwrap_or_default());
        if status.is_success() { Ok(serde_json::from_str(&body).unwrap()) } else { Err(format!("{status}: {body}")) }
    }
}

/// The scanner admits whoever holds a live ticket. It asks nobody and takes no lock.
pub(crate) async fn scan(tables: &Tables, evening: &Evening, random: &mut StdRng) -> Result<(), String> {
    let Some(ticket) = tables.ticket(evening, random).await? else { return Ok(()) };
    // Its older versions wrote another word.
    let admitted = *["validated", "used"].choose(random).unwrap();
    note(evening, tables.change(ticket, "live", admitted).await?, ("external", admitted));
    Ok(())
}

/// A person cancels a ticket, or takes a cancellation back, in Supabase's table editor.
pub(crate) async fn edit(tables: &Tables, evening: &Evening, random: &mut StdRng) -> Result<(), String> {
    let Some(ticket) = tables.ticket(evening, random).await? else { return Ok(()) };
    let (from, to) = if random.random_ratio(2, 3) { ("live", "cancelled") } else { ("cancelled", "live") };
    note(evening, tables.change(ticket, from, to).await?, ("external", to));
    Ok(())
}

/// An admin cancels a ticket by hand, or takes a cancellation back.
pub(crate) async fn decide(gate: &Database, evening: &Evening, ticket: i64, random: &mut StdRng) -> Result<(), Error> {
    let reason = Reason::try_new("Given back").unwrap();
    let answer = if random.random_bool(0.5) {
        gate.cancel_ticket(ticket, "admin@example.test", &reason).await?
    } else {
        gate.reinstate_ticket(ticket, "admin@example.test", &reason).await?
    };
    note(evening, answer.result == GateResult::CancelledByHand && !answer.repeated, ("admin", "cancelled"));
    note(evening, answer.result == GateResult::Reinstated && !answer.repeated, ("admin", "live"));
    Ok(())
}

/// The gate admits, or takes an admission back.
pub(crate) async fn admit(gate: &Database, evening: &Evening, ticket: i64, random: &mut StdRng) -> Result<(), Error> {
    let answer = if random.random_ratio(2, 5) {
        // Few names for many scans: some are sent again, and some are of another ticket.
        let id = ScanId::try_new(&format!("scan-{:05}", random.random_range(0..200))).unwrap();
        let scan = random.random_bool(0.5).then_some(Scan { id, gate: None });
        gate.validate_ticket(ticket, "gate@example.test", scan.as_ref()).await?
    } else {
        gate.undo_ticket(ticket, "admin@example.test", None).await?
    };
    note(evening, answer.result == GateResult::Admitted && !answer.repeated, ("gate", "validated"));
    note(evening, answer.result == GateResult::Undone, ("gate", "live"));
    Ok(())
}

fn note(evening: &Evening, changed: bool, change: (&'static str, &'static str)) {
    if changed {
        evening.hear(|heard| *heard.changes.entry(change).or_default() += 1);
    }
}

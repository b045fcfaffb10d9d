//! An evening: many webhooks and many scans at the same moment, in an account with ten executions.

use std::time::{Duration, Instant};

use futures::future::join_all;
use serde_json::{Value, json};
use tests::{api::As, fake_ghl::new_id, waiting::until, world::World};

use crate::counting::quantile;
use crate::full::{prepare, sync};
use crate::goals::Goal;
use crate::like_ghl;
use crate::report::Report;

const WEBHOOKS: usize = 50;
const SCANS: usize = 50;
const AGAIN_AFTER: Duration = Duration::from_millis(200);

/// A scan's status and milliseconds. What the gateway lets wait is sent again, as a scanner does.
async fn scan(world: &World, ticket: &Value) -> (u16, f64) {
    let begun = Instant::now();
    let answer = world.api.post(As::Member, &format!("/api/qrapp/tickets/{ticket}/validate")).await;
    (answer.status, begun.elapsed().as_secs_f64() * 1_000.0)
}

/// A webhook's status, once it isn't the gateway's 429.
async fn webhook(world: &World, client: &reqwest::Client, id: &str) -> (u16, f64) {
    let url = format!("{}/api/ghl/webhook-qr", world.http_url);
    let body = json!({ "customData": { "order_id": id }, "location": { "id": world.location_id } });
    let begun = Instant::now();
    loop {
        let request = client.post(&url).json(&body).header("x-webhook-secret", &world.webhook_secret);
        let status = request.send().await.expect("the webhook answers").status().as_u16();
        if status != 429 {
            return (status, begun.elapsed().as_secs_f64() * 1_000.0);
        }
        tokio::time::sleep(AGAIN_AFTER).await;
    }
}

pub(crate) async fn measure(world: &World, report: &mut Report) {
    // Tickets to scan.
    drop(sync(world, 150, &json!({ "rateMax": 1_000_000, "latencyMs": 0 })).await);
    world.ghl.settings(like_ghl()).await;
    let rows = world
        .database
        .rows(&format!(
            "select ticket_id from public.ghl_qr_tickets where status = 'live' order by ticket_id limit {}",
            2 * SCANS
        ))
        .await;
    let tickets: Vec<Value> = rows.into_iter().map(|row| row["ticket_id"].clone()).collect();
    assert_eq!(tickets.len(), 2 * SCANS, "too few tickets to scan");
    let ids: Vec<String> = (0..WEBHOOKS).map(|_| new_id()).collect();
    for id in &ids {
        world.ghl.put(id, json!({})).await;
    }
    let mut idle = Vec::new();
    for ticket in &tickets[..SCANS] {
        idle.push(scan(world, ticket).await);
    }
    let client = tests::http();
    let (scans, webhooks) = tokio::join!(
        join_all(tickets[SCANS..].iter().map(|ticket| scan(world, ticket))),
        join_all(ids.iter().map(|id| webhook(world, &client, id))),
    );
    until("an empty queue", Duration::from_secs(90), async || world.cloud().is_empty("orders").await).await;
    let times = |found: &[(u16, f64)]| found.iter().map(|(_, ms)| *ms).collect::<Vec<_>>();
    let errors = |found: &[(u16, f64)]| found.iter().filter(|(status, _)| *status >= 500).count();
    let p99 = |found: &[(u16, f64)]| quantile(&times(found), 0.99);
    let failed = errors(&scans) + errors(&webhooks);
    report.goal(
        Goal::at_most(
            format!("{WEBHOOKS} webhooks and {SCANS} scans at once: answered 5xx"),
            failed as f64,
            0.0,
            0,
            "",
        )
        .because(format!("{} scans and {} webhooks", errors(&scans), errors(&webhooks))),
    );
    report.goal(
        Goal::at_most(
            format!("{WEBHOOKS} webhooks and {SCANS} scans at once: scans' p99 / idle"),
            p99(&scans) / p99(&idle),
            3.0,
            1,
            "",
        )
        .because(format!(
            "{:.0} ms of {:.0} ms; each asks authorizer and gate, which share two cores here with everything else",
            p99(&scans),
            p99(&idle)
        )),
    );
    let row = |what: &str, found: &[(u16, f64)]| {
        let ms = |share| format!("{:.0}", quantile(&times(found), share));
        vec![what.to_owned(), found.len().to_string(), ms(0.5), ms(0.99), errors(found).to_string()]
    };
    report.section(
        "A crowd",
        "In an account with ten executions. Webhooks are sent again while the gateway answers 429, which is its limit for a small account.",
        &["", "requests", "p50 (ms)", "p99 (ms)", "5xx"],
        vec![row("scans, one by one", &idle), row("scans, all at once", &scans), row("webhooks, at once with them", &webhooks)],
    );
    prepare(world, 150, &like_ghl()).await;
}

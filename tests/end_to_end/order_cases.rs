//! Every case that GHL's order data brings, each with its fixture.
//!
//! A file of `fixtures/orders` is one case: a sentence, and steps. A step changes the order (`order`, a JSON merge patch)
//! and says what a sync makes of it (`expect`). The first step changes `fixtures/plain_order.json`, and whatever `expect`
//! leaves out is as in the step before, first as in that file; `fixture` has the fields, `names` what stands in braces.
//!
//! All cases are played twice: alone through `POST /api/ghl/orders/{id}`, then together through full runs.

mod fixture;
mod judge;
mod names;

use serde_json::{Value, json};
use tests::{api::As, fake_ghl::new_id, waiting::A_RUN, world::World};

use self::{
    fixture::{Case, Expected, cases},
    judge::{Stored, issue_differences, lacks, same},
};

/// Everything that isn't as a fixture says, so that one run of the tests shows it all.
#[derive(Default)]
struct Findings(Vec<String>);

impl Findings {
    fn add(&mut self, case: &Case, step: usize, when: &str, problems: impl IntoIterator<Item = String>) {
        let place = format!("{}.json, step {}{when}", case.name, step + 1);
        self.0.extend(problems.into_iter().map(|problem| format!("{place}: {problem}")));
    }

    fn assert_none(&self) {
        assert!(self.0.is_empty(), "{} differences from the fixtures:\n{}", self.0.len(), self.0.join("\n"));
    }
}

#[tokio::test]
async fn each_case_synced_alone_is_as_its_fixture_says() {
    let world = World::with_orders(0).await;
    let mut findings = Findings::default();
    for case in cases(&world.ghl).await {
        let id = new_id();
        for (number, step) in case.steps.iter().enumerate() {
            let before = Stored::read(&world.database, &id).await;
            step.show(&world.ghl, &id).await;
            let problems = sync(&world, &id, step.force, &before, &step.expected).await;
            findings.add(&case, number, "", problems);

            let after = Stored::read(&world.database, &id).await;
            let problems = sync(&world, &id, step.force, &after, &step.expected.repeated()).await;
            findings.add(&case, number, ", a second time", problems);
            if Stored::read(&world.database, &id).await != after {
                findings.add(&case, number, "", ["a second sync wrote something".to_owned()]);
            }
            world.ghl.heal().await;
        }
    }
    findings.assert_none();
    world.assert_no_failures().await;
}

/// Syncs one order; what its answer, the row, the tickets and the issues have wrong.
async fn sync(world: &World, id: &str, force: bool, before: &Stored, expected: &Expected) -> Vec<String> {
    let force = if force { "?force=true" } else { "" };
    let answer = world.api.post(As::Admin, &format!("/api/ghl/orders/{id}{force}")).await;
    let after = Stored::read(&world.database, id).await;
    let mut problems = after.differences(expected);
    problems.extend(after.lost_since(before));
    // An order of another location is none of ours, so there is nothing to answer about it.
    if let (404, Some(skip)) = (answer.status, &expected.skipped) {
        let said = answer.body["error"].as_str().unwrap_or_default();
        if answer.body["code"] != *skip.code || lacks(skip, said).is_some() {
            problems.push(format!("skipped: expected {skip:?}, found {}", answer.body));
        }
        return problems;
    }
    let body = answer.ok();
    let mut fields = vec![("result", json!(expected.result))];
    if let Some(skip) = &expected.skipped {
        if let Some(word) = lacks(skip, body["reason"].as_str().unwrap_or_default()) {
            problems.push(format!("skipped: expected the word {word:?}, found {}", body["reason"]));
        }
    } else if expected.result != "stale" {
        fields.push(("entitled", expected.row["entitled"].clone()));
        fields.push(("paymentStatus", expected.row["payment_status"].clone()));
    }
    if expected.skipped.is_none() {
        for (count, value) in after.changes_since(before).as_object().unwrap() {
            if body["tickets"][count] != *value {
                problems.push(format!("tickets {count}: told {}, done {value}", body["tickets"][count]));
            }
        }
    }
    for (field, value) in fields {
        if !same(&body[field], &value) {
            problems.push(format!("answer's {field}: expected {value}, found {}", body[field]));
        }
    }
    problems.extend(issue_differences(expected, body["issues"].as_array().unwrap()));
    problems
}

const SYNC: &str = "/api/ghl/orders/sync?mode=full";

/// One run after the other: the first after each case's first step, the next after the second step of those that have one.
/// A last run finds everything as it is.
#[tokio::test]
async fn all_cases_synced_by_full_runs_are_as_their_fixtures_say() {
    let world = World::with_orders(0).await;
    let mut findings = Findings::default();
    let played: Vec<Played> =
        cases(&world.ghl).await.into_iter().map(|case| Played { case, order_id: new_id() }).collect();
    let rounds = played.iter().map(|played| played.last() + 1).max().unwrap_or_default();
    for round in 0..rounds {
        world.ghl.heal().await;
        for Played { case, order_id } in played.iter().filter(|played| played.last() >= round) {
            case.steps[round].show(&world.ghl, order_id).await;
        }
        for played in played.iter().filter(|played| played.last() < round) {
            played.case.steps[played.last()].spoil(&world.ghl, &played.order_id).await;
        }
        let report = RunReport::by(&world).await;
        for played in &played {
            played.judge(round, &report, &world, &mut findings).await;
        }
    }

    let everything = async || world.database.rows("select * from public.ghl_qr_orders order by order_id").await;
    let tickets = async || world.database.rows("select * from public.ghl_qr_tickets order by ticket_id").await;
    let before = (everything().await, tickets().await);
    let report = RunReport::by(&world).await;
    for played in &played {
        played.judge(rounds, &report, &world, &mut findings).await;
    }
    findings.assert_none();
    assert!(before == (everything().await, tickets().await), "a last run wrote something");
    assert_eq!((&report.run["unchanged"], &report.run["failed"]), (&report.run["synced"], &json!(0)), "{}", report.run);
}

/// A case with the order that plays it.
struct Played {
    case: Case,
    order_id: String,
}

/// What a run says of all its orders.
struct RunReport {
    run: Value,
    detail: Value,
    outcomes: Vec<Value>,
}

impl RunReport {
    /// Lets a run sync everything.
    async fn by(world: &World) -> Self {
        let run = world.complete(SYNC, A_RUN).await;
        let run_id = run["run_id"].as_str().unwrap();
        let detail = world.api.get(As::Member, &format!("/api/qrapp/runs/{run_id}?limit=1000")).await.ok();
        assert_eq!((&detail["next"], &detail["failures"]), (&Value::Null, &json!([])), "{detail}");
        let query = format!("select order_id, outcome, change from public.sync_outcomes where run_id = '{run_id}'");
        let outcomes = world.database.rows(&query).await;
        Self { detail, outcomes, run }
    }

    /// What it says of one order in one of its lists.
    fn of(&self, list: &str, order_id: &str) -> Vec<Value> {
        let all = self.detail[list].as_array().unwrap().iter();
        all.filter(|one| one["orderId"] == order_id).cloned().collect()
    }
}

impl Played {
    /// The last step that a run can make: none syncs with force.
    fn last(&self) -> usize {
        let steps = &self.case.steps;
        steps.iter().position(|step| step.force).unwrap_or(steps.len()) - 1
    }

    async fn judge(&self, round: usize, report: &RunReport, world: &World, findings: &mut Findings) {
        let step = round.min(self.last());
        let expected = &self.case.steps[step].expected;
        let expected = if step == round { expected.clone() } else { expected.repeated_by_a_run() };
        let mut problems = Stored::read(&world.database, &self.order_id).await.differences(&expected);
        problems.extend(issue_differences(&expected, &report.of("issues", &self.order_id)));
        let skips = report.of("skips", &self.order_id);
        if let Some(skip) = &expected.skipped {
            let right =
                |row: &Value| row["code"] == *skip.code && lacks(skip, row["reason"].as_str().unwrap()).is_none();
            if !(skips.len() == 1 && right(&skips[0])) {
                problems.push(format!("skipped: expected {skip:?}, found {skips:?}"));
            }
        } else {
            let outcome = report.outcomes.iter().find(|outcome| outcome["order_id"] == *self.order_id);
            let synced = json!({ "order_id": self.order_id, "outcome": "synced", "change": expected.result });
            if outcome != Some(&synced) {
                problems.push(format!("outcome: expected {synced}, found {outcome:?}"));
            }
        }
        findings.add(&self.case, step, &format!(", run {}", round + 1), problems);
    }
}

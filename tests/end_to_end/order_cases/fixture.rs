//! A case as its fixture tells it: what GHL shows, step by step, and what is expected after each.

use std::{
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
};

use serde::{Deserialize, de::DeserializeOwned};
use serde_json::{Map, Value};
use tests::fake_ghl::FakeGhl;

use super::names::Names;

/// A fixture: a name, a sentence, and the steps.
pub(crate) struct Case {
    pub(crate) name: String,
    pub(crate) steps: Vec<Step>,
}

/// A change of the order, and what a sync makes of it.
pub(crate) struct Step {
    change: Change,
    /// Synced with `force=true`.
    pub(crate) force: bool,
    pub(crate) expected: Expected,
}

/// Everything that is expected after a step.
#[derive(Clone)]
pub(crate) struct Expected {
    /// `written`, `unchanged`, `stale` or `skipped`.
    pub(crate) result: String,
    /// The skip's code and words of its reason: then nothing is stored.
    pub(crate) skipped: Option<Words>,
    pub(crate) row: Map<String, Value>,
    pub(crate) lines: Vec<Line>,
    pub(crate) issues: Vec<Words>,
}

/// A code, and words that its message must have.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Words {
    pub(crate) code: String,
    pub(crate) says: Vec<String>,
}

/// A line of the order with its tickets.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Line {
    pub(crate) product_id: String,
    pub(crate) price_id: String,
    pub(crate) ticket_type: String,
    /// Left out: no longer a line of the order, only its tickets are there.
    pub(crate) quantity: Option<u64>,
    /// How many of which status; left out: all of the quantity live.
    tickets: Option<BTreeMap<String, u64>>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Fixture {
    #[serde(rename = "case")]
    _sentence: String,
    steps: Vec<FixtureStep>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct FixtureStep {
    /// A JSON merge patch (RFC 7396) of the order as it was, first of the plain one.
    #[serde(default = "nothing")]
    order: Value,
    /// Nulls of the patch are shown instead of removing what they name.
    #[serde(default)]
    keep_nulls: bool,
    /// Replacements in the text that GHL answers with, for what no JSON library would write.
    #[serde(default)]
    in_the_text: BTreeMap<String, String>,
    #[serde(default)]
    force: bool,
    #[serde(default)]
    expect: Difference,
}

/// Columns and lines that aren't told are as after the step before, first as the plain order's.
#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct Difference {
    result: Option<String>,
    skipped: Option<Words>,
    #[serde(default)]
    row: Map<String, Value>,
    lines: Option<Vec<Line>>,
    #[serde(default)]
    issues: Vec<Words>,
}

struct Change {
    /// Put before it: the order this one is a change of.
    plain: Option<Value>,
    order: Value,
    keep_nulls: bool,
    in_the_text: BTreeMap<String, String>,
}

/// All cases, each checked to be whole.
pub(crate) async fn cases(ghl: &FakeGhl) -> Vec<Case> {
    let names = Names::of(&ghl.products().await);
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("end_to_end/fixtures");
    let plain: FixtureStep = read(&folder.join("plain_order.json"), &names);
    let mut paths: Vec<PathBuf> =
        fs::read_dir(folder.join("orders")).unwrap().map(|entry| entry.unwrap().path()).collect();
    paths.sort();
    assert!(!paths.is_empty(), "there are fixtures");
    paths.iter().map(|path| case(path, &plain, &names)).collect()
}

fn read<T: DeserializeOwned>(path: &Path, names: &Names) -> T {
    let read = || -> Result<T, String> {
        let text = fs::read_to_string(path).map_err(|error| error.to_string())?;
        let value: Value = serde_json::from_str(&text).map_err(|error| error.to_string())?;
        serde_json::from_value(names.resolve(&value)?).map_err(|error| error.to_string())
    };
    read().unwrap_or_else(|problem| panic!("{}: {problem}", path.display()))
}

fn case(path: &Path, plain: &FixtureStep, names: &Names) -> Case {
    let name = path.file_stem().unwrap().to_string_lossy().into_owned();
    let fixture: Fixture = read(path, names);
    let mut expected = Expected {
        result: String::new(),
        skipped: None,
        row: plain.expect.row.clone(),
        lines: plain.expect.lines.clone().unwrap_or_default(),
        issues: Vec::new(),
    };
    let mut first = Some(plain.order.clone());
    let step = |step: FixtureStep| {
        expected = expected.clone().changed_by(step.expect);
        let (plain, order) = (first.take(), step.order);
        let change = Change { plain, order, keep_nulls: step.keep_nulls, in_the_text: step.in_the_text };
        Step { change, force: step.force, expected: expected.clone() }
    };
    Case { name, steps: fixture.steps.into_iter().map(step).collect() }
}

impl Expected {
    fn changed_by(mut self, step: Difference) -> Self {
        let usual = if step.skipped.is_some() { "skipped" } else { "written" };
        self.result = step.result.unwrap_or_else(|| usual.to_owned());
        self.skipped = step.skipped;
        self.row.extend(step.row);
        self.lines = step.lines.unwrap_or(self.lines);
        self.issues = step.issues;
        self
    }

    /// The same of a sync that finds nothing new.
    pub(crate) fn repeated(&self) -> Self {
        let result = if self.result == "written" { "unchanged" } else { &self.result };
        Self { result: result.to_owned(), ..self.clone() }
    }

    /// The same of a full run that finds nothing new: what is no order of ours isn't fetched again, so nothing is read of it; but what
    /// couldn't be read is, since it may be one.
    pub(crate) fn repeated_by_a_run(&self) -> Self {
        let is_unreadable = self.issues.iter().any(|issue| issue.code == "items_unreadable");
        let issues = if self.skipped.is_some() && !is_unreadable { Vec::new() } else { self.issues.clone() };
        Self { issues, ..self.repeated() }
    }
}

impl Line {
    /// How many tickets of which status there are.
    pub(crate) fn tickets(&self) -> BTreeMap<String, u64> {
        let all_live = || BTreeMap::from([("live".to_owned(), self.quantity.unwrap_or(0))]);
        let mut tickets = self.tickets.clone().unwrap_or_else(all_live);
        tickets.retain(|_, count| *count > 0);
        tickets
    }
}

impl Step {
    /// Lets GHL show it.
    pub(crate) async fn show(&self, ghl: &FakeGhl, order_id: &str) {
        if let Some(plain) = &self.change.plain {
            ghl.put(order_id, plain.clone()).await;
        }
        if self.change.keep_nulls {
            ghl.put_with_nulls(order_id, self.change.order.clone()).await;
        } else {
            ghl.put(order_id, self.change.order.clone()).await;
        }
        self.spoil(ghl, order_id).await;
    }

    /// Lets GHL answer with a text of its own, where the step has one.
    pub(crate) async fn spoil(&self, ghl: &FakeGhl, order_id: &str) {
        if self.change.in_the_text.is_empty() {
            return;
        }
        let mut text = ghl.order(order_id).await.to_string();
        for (marker, replacement) in &self.change.in_the_text {
            assert!(text.contains(marker), "the order has no {marker}: {text}");
            text = text.replace(marker, replacement);
        }
        ghl.answer_order_with(order_id, &text).await;
    }
}

fn nothing() -> Value {
    Value::Object(Map::new())
}

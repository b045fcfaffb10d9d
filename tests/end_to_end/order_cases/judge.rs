//! Compares what is stored and said with what a fixture expects, and tells each difference.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Value, json};
use tests::database::Database;

use super::fixture::{Expected, Line, Words};

/// An order as it is stored.
#[derive(Clone, PartialEq)]
pub(crate) struct Stored {
    pub(crate) row: Option<Value>,
    pub(crate) tickets: Vec<Value>,
}

impl Stored {
    pub(crate) async fn read(database: &Database, order_id: &str) -> Self {
        Self { row: database.order(order_id).await, tickets: database.whole_tickets(order_id).await }
    }

    /// What differs from the expected row, lines and tickets.
    pub(crate) fn differences(&self, expected: &Expected) -> Vec<String> {
        if expected.skipped.is_some() {
            let nothing = self.row.is_none() && self.tickets.is_empty();
            return if nothing { Vec::new() } else { vec!["a skipped order is stored".to_owned()] };
        }
        let Some(row) = &self.row else { return vec!["no row".to_owned()] };
        let mut differences = Vec::new();
        let mut compare = |what: &str, expected: &Value, found: &Value| {
            if !same(expected, found) {
                differences.push(format!("{what}: expected {expected}, found {found}"));
            }
        };
        for (column, value) in &expected.row {
            compare(&format!("column {column}"), value, &row[column]);
        }
        compare("column tickets_due", &Value::Null, &row["tickets_due"]);
        let mut quantities = BTreeMap::new();
        for line in &expected.lines {
            if let Some(quantity) = line.quantity {
                *quantities.entry(&line.ticket_type).or_insert(0) += quantity;
            }
        }
        compare("column ticket_quantities", &json!(quantities), &row["ticket_quantities"]);
        let wanted: BTreeMap<Identity, Tickets> = expected.lines.iter().map(identified).collect();
        let found = self.lines();
        let identities: BTreeSet<&Identity> = wanted.keys().chain(found.keys()).collect();
        for identity in identities {
            let of = |lines: &BTreeMap<Identity, Tickets>| lines.get(identity).map_or(Value::Null, as_json);
            let (product, price, label) = identity;
            compare(&format!("line {label:?} of {product}/{price}"), &of(&wanted), &of(&found));
        }
        differences.extend(self.misnumbered());
        differences
    }

    /// The lines of the row and the tickets of the order, by product, price and label.
    fn lines(&self) -> BTreeMap<Identity, Tickets> {
        let text = |value: &Value, key: &str| value[key].as_str().unwrap_or("?").to_owned();
        let identity = |of: &Value| (text(of, "product_id"), text(of, "price_id"), text(of, "ticket_type"));
        let mut lines: BTreeMap<Identity, Tickets> = BTreeMap::new();
        for line in self.row.iter().filter_map(|row| row["lines"].as_array()).flatten() {
            lines.entry(identity(line)).or_default().0 = line["quantity"].as_u64();
        }
        for ticket in &self.tickets {
            *lines.entry(identity(ticket)).or_default().1.entry(text(ticket, "status")).or_default() += 1;
        }
        lines
    }

    /// A line's tickets are numbered from 1 without a gap.
    fn misnumbered(&self) -> Option<String> {
        let mut ordinals: BTreeMap<String, BTreeSet<u64>> = BTreeMap::new();
        for ticket in &self.tickets {
            let line = format!("{}/{}", ticket["product_id"], ticket["price_id"]);
            ordinals.entry(line).or_default().insert(ticket["ordinal"].as_u64().unwrap_or(0));
        }
        let gap = |(_, of): &(&String, &BTreeSet<u64>)| !of.iter().copied().eq(1..=of.len() as u64);
        let tickets: usize = ordinals.values().map(BTreeSet::len).sum();
        let wrong = ordinals.iter().find(gap).map(|(line, of)| format!("tickets of {line} are numbered {of:?}"));
        wrong.or_else(|| (tickets != self.tickets.len()).then(|| "two tickets have one number".to_owned()))
    }

    /// The tickets that were there before are there still, and are the same ones; only ids that were missing may have appeared.
    pub(crate) fn lost_since(&self, before: &Self) -> Option<String> {
        let ids = ["product_id", "price_id"];
        let is_same = |now: &Value, then: &Value| {
            let appeared = ids.into_iter().any(|key| then[key] == "" && now[key] != "");
            let keeps = |key: &str| now[key] == then[key] || then[key] == "";
            now["ticket_id"] == then["ticket_id"]
                && ids.into_iter().all(keeps)
                && (appeared || now["ordinal"] == then["ordinal"])
        };
        let lost = |ticket: &&Value| !self.tickets.iter().any(|other| is_same(other, ticket));
        before.tickets.iter().find(lost).map(|ticket| format!("ticket {ticket} is gone"))
    }

    /// What became of the tickets since, as the API counts it.
    pub(crate) fn changes_since(&self, before: &Self) -> Value {
        let was = |ticket: &Value| before.tickets.iter().find(|other| other["ticket_id"] == ticket["ticket_id"]);
        let count = |from: Option<&str>, to: &str| {
            let changed = |ticket: &&Value| {
                let was = was(ticket).map(|was| was["status"].as_str().unwrap_or("?"));
                was == from && ticket["status"] == to
            };
            self.tickets.iter().filter(changed).count()
        };
        json!({
            "added": count(None, "live"),
            "reinstated": count(Some("cancelled"), "live"),
            "cancelled": count(Some("live"), "cancelled"),
        })
    }
}

/// Product, price and label.
type Identity = (String, String, String);
/// A line's quantity, and its tickets by status.
type Tickets = (Option<u64>, BTreeMap<String, u64>);

fn identified(line: &Line) -> (Identity, Tickets) {
    let identity = (line.product_id.clone(), line.price_id.clone(), line.ticket_type.clone());
    (identity, (line.quantity, line.tickets()))
}

fn as_json((quantity, tickets): &Tickets) -> Value {
    json!({ "quantity": quantity, "tickets": tickets })
}

/// Equal, whichever way a number is written.
pub(crate) fn same(one: &Value, other: &Value) -> bool {
    match (one, other) {
        (Value::Number(one), Value::Number(other)) => one.as_f64() == other.as_f64(),
        (Value::Array(one), Value::Array(other)) => {
            one.len() == other.len() && one.iter().zip(other).all(|(one, other)| same(one, other))
        }
        (Value::Object(one), Value::Object(other)) => {
            one.len() == other.len() && one.iter().all(|(key, one)| other.get(key).is_some_and(|it| same(one, it)))
        }
        _ => one == other,
    }
}

/// What differs between the expected issues and those that were reported.
pub(crate) fn issue_differences(expected: &Expected, found: &[Value]) -> Vec<String> {
    let codes = |codes: Vec<&str>| {
        let mut codes = codes;
        codes.sort_unstable();
        codes.join(", ")
    };
    let wanted = codes(expected.issues.iter().map(|issue| issue.code.as_str()).collect());
    let seen = codes(found.iter().map(|issue| issue["code"].as_str().unwrap_or("?")).collect());
    if wanted != seen {
        return vec![format!("issues: expected [{wanted}], found [{seen}]")];
    }
    let message = |issue: &Value| issue["message"].as_str().unwrap_or_default().to_owned();
    let mut differences = Vec::new();
    for issue in &expected.issues {
        let messages: Vec<_> = found.iter().filter(|other| other["code"] == *issue.code).map(message).collect();
        if !messages.iter().any(|message| lacks(issue, message).is_none()) {
            differences.push(format!("issue {}: expected the words {:?}, found {messages:?}", issue.code, issue.says));
        }
    }
    for message in found.iter().map(message) {
        for column in ["contact_email", "contact_phone", "contact_lastname"] {
            if expected.row[column].as_str().is_some_and(|value| message.contains(value)) {
                differences.push(format!("an issue tells the {column} of the buyer: {message}"));
            }
        }
        if !message.ends_with('.') {
            differences.push(format!("an issue is no sentence: {message}"));
        }
    }
    differences
}

/// The first word that a text lacks.
pub(crate) fn lacks<'a>(words: &'a Words, text: &str) -> Option<&'a str> {
    words.says.iter().map(String::as_str).find(|word| !text.contains(word))
}

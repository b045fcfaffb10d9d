//! What a database holds, and how two databases differ.

use std::collections::BTreeMap;
use std::fmt;

use serde::Deserialize;

/// Asks a database for its catalogue: statements whose last one answers with one row of one JSON value.
pub const QUERY: &str = include_str!("../../../supabase/catalogue.sql");

/// The original app's tables and the sequence of one of them: how open they are is decided by who made them.
const ORIGINAL: [&str; 3] =
    ["table public.ghl_qr_orders", "table public.ghl_qr_tickets", "sequence public.ghl_qr_tickets_ticket_id_seq"];

/// One object of a database, or one property of an object.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct Entry {
    /// `function`, `column`, `index`, `rights`, ...
    pub kind: String,
    /// Finds it, whatever it is like.
    pub name: String,
    /// What it is like.
    pub definition: String,
    /// SQL that makes it so, where a migration may simply say so again.
    pub statement: Option<String>,
    /// What was made first has the lower number.
    pub position: i64,
}

/// What a database holds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Catalogue(BTreeMap<(String, String), Entry>);

/// What is not alike in two databases.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Difference {
    /// It should be there.
    Missing(Entry),
    /// It should not be there.
    Surplus(Entry),
    /// It should be like the first and is like the second.
    Changed(Entry, Entry),
}

impl Catalogue {
    /// Reads the answer to [`QUERY`].
    ///
    /// # Errors
    /// When it is no catalogue.
    pub fn parse(answer: &str) -> Result<Self, serde_json::Error> {
        let entries: Vec<Entry> = serde_json::from_str(answer)?;
        Ok(Self(entries.into_iter().map(|entry| ((entry.kind.clone(), entry.name.clone()), entry)).collect()))
    }

    /// How `found` differs from this.
    #[must_use]
    pub fn differences(&self, found: &Self) -> Vec<Difference> {
        let mut differences = Vec::new();
        for (key, entry) in &self.0 {
            match found.0.get(key) {
                None => differences.push(Difference::Missing(entry.clone())),
                Some(other) if other.definition != entry.definition => {
                    differences.push(Difference::Changed(entry.clone(), other.clone()));
                }
                Some(_) => {}
            }
        }
        let surplus = found.0.iter().filter(|(key, _)| !self.0.contains_key(*key));
        differences.extend(surplus.map(|(_, entry)| Difference::Surplus(entry.clone())));
        differences
    }

    /// Without what says how open the original app's two tables are.
    #[must_use]
    pub fn without_original_rights(mut self) -> Self {
        self.0.retain(|_, entry| match entry.kind.as_str() {
            "rights" => !ORIGINAL.contains(&entry.name.as_str()),
            "row level security" => !ORIGINAL.contains(&format!("table {}", entry.name).as_str()),
            _ => true,
        });
        self
    }

    /// Only what must be alike on another server, too: not who owns what, nor what the server's own roles may do, nor the text of
    /// views, which each version of Postgres writes in its own way.
    #[must_use]
    pub fn as_on_any_server(self) -> Self {
        let mut kept = self.without_original_rights();
        kept.0.retain(|_, entry| !matches!(entry.kind.as_str(), "owner" | "default rights" | "schema"));
        for entry in kept.0.values_mut() {
            match entry.kind.as_str() {
                "rights" => {
                    let of_public_keys = |right: &&str| {
                        ["public: ", "anon: ", "authenticated: "].iter().any(|grantee| right.starts_with(grantee))
                    };
                    entry.definition =
                        entry.definition.split(", ").filter(of_public_keys).collect::<Vec<_>>().join(", ");
                }
                "view" => entry.definition = entry.definition.lines().next().unwrap_or_default().to_owned(),
                _ => {}
            }
        }
        kept.0.retain(|_, entry| !(entry.kind == "rights" && entry.name == "schema public"));
        kept
    }
}

impl Difference {
    /// The object in question, as it should be if it should be there.
    #[must_use]
    pub const fn entry(&self) -> &Entry {
        match self {
            Self::Missing(entry) | Self::Surplus(entry) | Self::Changed(entry, _) => entry,
        }
    }
}

impl fmt::Display for Difference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Entry { kind, name, .. } = self.entry();
        match self {
            Self::Missing(_) => write!(f, "{kind} {name} is missing"),
            Self::Surplus(_) => write!(f, "{kind} {name} should not be there"),
            Self::Changed(wanted, found) => {
                let (wanted, found) = first_difference(&wanted.definition, &found.definition);
                write!(f, "{kind} {name} differs: \"{found}\" instead of \"{wanted}\"")
            }
        }
    }
}

/// The first lines that aren't alike.
fn first_difference<'a>(wanted: &'a str, found: &'a str) -> (&'a str, &'a str) {
    let (mut wanted, mut found) = (wanted.lines(), found.lines());
    loop {
        match (wanted.next(), found.next()) {
            (Some(one), Some(other)) if one == other => {}
            (one, other) => return (one.unwrap_or_default().trim(), other.unwrap_or_default().trim()),
        }
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use serde_json::{Value, json};

    use super::*;

    pub(crate) fn entry(kind: &str, name: &str, definition: &str) -> Value {
        json!({"kind": kind, "name": name, "definition": definition, "statement": format!("make {name};"), "position": 1})
    }

    pub(crate) fn catalogue(entries: &[Value]) -> Catalogue {
        Catalogue::parse(&json!(entries).to_string()).unwrap()
    }

    fn differences(wanted: &Catalogue, found: &Catalogue) -> Vec<String> {
        wanted.differences(found).iter().map(ToString::to_string).collect()
    }

    #[test]
    fn what_differs_is_named() {
        let wanted = catalogue(&[
            entry("function", "public.f(jsonb)", "begin\n  one\nend"),
            entry("index", "public.i", "on a"),
            entry("table", "public.t", "kept"),
        ]);
        let found = catalogue(&[
            entry("function", "public.f(jsonb)", "begin\n  two\nend"),
            entry("policy", "public.t.p", "all"),
            entry("table", "public.t", "kept"),
        ]);
        let expected = [
            "function public.f(jsonb) differs: \"two\" instead of \"one\"",
            "index public.i is missing",
            "policy public.t.p should not be there",
        ];
        assert_eq!(differences(&wanted, &found), expected);
        assert_eq!(differences(&wanted, &wanted), Vec::<String>::new());
    }

    #[test]
    fn how_open_the_original_tables_are_can_be_left_out() {
        let open = catalogue(&[
            entry("rights", "table public.ghl_qr_orders", "anon: select"),
            entry("row level security", "public.ghl_qr_orders", "off"),
            entry("rights", "table public.sync_runs", "anon: select"),
        ]);
        let closed = catalogue(&[
            entry("rights", "table public.ghl_qr_orders", "nobody but the owner"),
            entry("row level security", "public.ghl_qr_orders", "on"),
            entry("rights", "table public.sync_runs", "nobody but the owner"),
        ]);
        assert_eq!(differences(&closed, &open).len(), 3);
        let left = differences(&closed.without_original_rights(), &open.without_original_rights());
        assert_eq!(
            left,
            ["rights table public.sync_runs differs: \"anon: select\" instead of \"nobody but the owner\""]
        );
    }

    #[test]
    fn on_another_server_only_the_public_keys_rights_count() {
        let here = catalogue(&[
            entry("owner", "table public.sync_runs", "postgres"),
            entry("rights", "table public.sync_runs", "service_role: select"),
            entry("view", "public.v", "options security_invoker=true\nselect t.a"),
        ]);
        let there = catalogue(&[
            entry("owner", "table public.sync_runs", "somebody"),
            entry("rights", "table public.sync_runs", "service_role: delete, service_role: select"),
            entry("view", "public.v", "options security_invoker=true\nselect a"),
        ]);
        assert_eq!(differences(&here.clone().as_on_any_server(), &there.as_on_any_server()), Vec::<String>::new());
        let open = catalogue(&[entry("rights", "table public.sync_runs", "anon: select, service_role: select")]);
        assert_eq!(differences(&here.as_on_any_server(), &open.as_on_any_server()).len(), 2);
    }
}

//! What is written, and the deployment that follows.

use std::collections::BTreeMap;

use anyhow::Result;
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;

use super::judge::is_public_key;
use super::values::{
    ANON_KEY, GHL_URL, JWT_SECRET, LOCATION, PUBLIC_KEYS, STORED, SUPABASE_URL, Stored, StoredValues, Values,
    WEBHOOK_SECRET,
};
use crate::operate::aws::secrets_of;
use crate::operate::secret::Secret;

/// As `samconfig.toml` has it.
const DEFAULT_STACK: &str = "ghl-sync";
pub(crate) const SCHEDULES_OFF: &str = "SchedulesEnabled=false";

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum ParameterChange {
    New,
    /// New, and made here.
    Random,
    /// Over a different value.
    Replaced,
    Unchanged,
    Missing,
    /// Not there, and not needed.
    NotUsed,
}

struct Entry {
    stored: &'static Stored,
    name: String,
    change: ParameterChange,
    value: Option<Secret>,
}

pub(crate) struct ParameterPlan {
    stack: String,
    entries: Vec<Entry>,
}

impl ParameterPlan {
    pub(crate) fn new(given: &Values, there: &StoredValues, stack: &str) -> Result<Self> {
        let prefix = secrets_of(stack);
        let mut entries = Vec::new();
        for stored in &STORED {
            let (change, value) = match (given.get(stored.variable), there.get(stored.variable)) {
                (Some(given), Some(there)) if given == there => (ParameterChange::Unchanged, None),
                (Some(given), Some(_)) => (ParameterChange::Replaced, Some(given.clone())),
                (Some(given), None) => (ParameterChange::New, Some(given.clone())),
                (None, Some(_)) => (ParameterChange::Unchanged, None),
                (None, None) if stored.random => {
                    (ParameterChange::Random, Some(Secret::new(URL_SAFE_NO_PAD.encode(rand::random::<[u8; 48]>()))))
                }
                (None, None) if stored.optional => (ParameterChange::NotUsed, None),
                (None, None) => (ParameterChange::Missing, None),
            };
            entries.push(Entry { stored, name: format!("{prefix}/{}", stored.name), change, value });
        }
        Ok(Self { stack: stack.to_owned(), entries })
    }

    pub(crate) fn show(&self) {
        for entry in &self.entries {
            let change = match entry.change {
                ParameterChange::New => "new",
                ParameterChange::Random => "new, a random value",
                ParameterChange::Replaced => "replaces a different value",
                ParameterChange::Unchanged => "unchanged",
                ParameterChange::Missing => "MISSING",
                ParameterChange::NotUsed => "not used",
            };
            println!("  {:<40} {change}", entry.name);
        }
    }

    pub(crate) fn writes(&self) -> BTreeMap<String, Secret> {
        self.entries.iter().filter_map(|entry| Some((entry.name.clone(), entry.value.clone()?))).collect()
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.entries.iter().all(|entry| entry.value.is_none())
    }

    pub(crate) fn summary(&self) -> String {
        let replaced = self.entries.iter().filter(|entry| entry.change == ParameterChange::Replaced).count();
        let over = if replaced == 0 { String::new() } else { format!(", {replaced} of them over a different value") };
        format!("{} parameter(s){over}", self.writes().len())
    }

    /// What to do now; nothing of it is secret.
    pub(crate) fn introduce_next(&self, used: &Values, region: &str, more: &[String]) {
        if let Some(entry) =
            self.entries.iter().find(|e| e.stored.variable == WEBHOOK_SECRET && e.change == ParameterChange::Random)
        {
            println!(
                "\nA workflow's webhook action in GHL sends the new secret in the header x-webhook-secret. To read it:"
            );
            println!(
                "  aws ssm get-parameter --region {region} --name {} --with-decryption --query Parameter.Value --output text",
                entry.name
            );
        }
        let stack = if self.stack == DEFAULT_STACK { String::new() } else { format!(" --stack-name {}", self.stack) };
        println!(
            "\nNext:\n  sam build && sam deploy --region {region}{stack} --parameter-overrides {}",
            [self.overrides(used), more.to_vec()].concat().join(" ")
        );
        if more.iter().any(|parameter| parameter == SCHEDULES_OFF) {
            println!(
                "\nSchedules stay off as long as the original app's tables are open: two syncs interfere with each other. \
                 infra/docs/moving-in.md says when to switch them on."
            );
        }
        println!(
            "\nAdd AlarmEmail=<whoever is on call>, and NoticeEmail=<who looks by day>. Nobody is told of an alarm before the link in \
             Amazon's mail to the address was clicked."
        );
    }

    /// The template's parameters that have no default, or another one here.
    fn overrides(&self, used: &Values) -> Vec<String> {
        let mut overrides = Vec::new();
        for (parameter, variable) in [
            ("LocationId", LOCATION),
            ("SupabaseUrl", SUPABASE_URL),
            ("SupabaseAnonKey", ANON_KEY),
            ("GhlApiBaseUrl", GHL_URL),
            ("WebhookPublicKeys", PUBLIC_KEYS),
        ] {
            let value = used.text(variable).filter(|value| variable != ANON_KEY || is_public_key(value));
            overrides.extend(value.map(|value| format!("{parameter}={}", value.replace(' ', ""))));
        }
        // The template's default is not to use it.
        overrides.extend(used.get(JWT_SECRET).is_some().then(|| "LegacyJwtSecret=true".to_owned()));
        overrides
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::operate::configure::values::{SERVICE_KEY, TICKET_SECRET, TOKEN};

    fn plan(given: &[(&'static str, &str)], there: &[(&'static str, &str)]) -> ParameterPlan {
        let there = there.iter().map(|(variable, value)| (*variable, Secret::new(*value))).collect();
        ParameterPlan::new(&values(given), &there, "other").unwrap()
    }

    fn values(given: &[(&'static str, &str)]) -> Values {
        let mut values = Values::default();
        given.iter().for_each(|(variable, value)| values.set(variable, value));
        values
    }

    #[test]
    fn only_what_is_new_or_different_is_written() {
        let plan = plan(&[(TOKEN, "a"), (SERVICE_KEY, "b")], &[(TOKEN, "a"), (SERVICE_KEY, "c"), (TICKET_SECRET, "d")]);
        let changes: Vec<_> = plan.entries.iter().map(|entry| entry.change).collect();
        use ParameterChange::{NotUsed, Random, Replaced, Unchanged};
        assert_eq!(changes, [Unchanged, Replaced, Random, Unchanged, NotUsed]);
        let writes = plan.writes();
        assert_eq!(
            writes.keys().collect::<Vec<_>>(),
            ["/ghl-sync/other/supabase-service-role-key", "/ghl-sync/other/webhook-shared-secret"]
        );
        assert_eq!(writes["/ghl-sync/other/webhook-shared-secret"].expose().len(), 64);
        assert_eq!(plan.summary(), "2 parameter(s), 1 of them over a different value");
    }

    #[test]
    fn what_is_needed_and_nowhere_is_missing() {
        let plan = plan(&[], &[]);
        assert_eq!(plan.entries.iter().filter(|entry| entry.change == ParameterChange::Missing).count(), 2);
    }

    #[test]
    fn the_deployment_is_told_without_secrets() {
        let used = values(&[
            (LOCATION, "loc"),
            (SUPABASE_URL, "https://x"),
            (TOKEN, "pit-secret"),
            (JWT_SECRET, "invented-jwt"),
        ]);
        let overrides = plan(&[], &[]).overrides(&used).join(" ");
        assert_eq!(overrides, "LocationId=loc SupabaseUrl=https://x LegacyJwtSecret=true");
        // The command is kept in a shell's history: a secret key that was given as the public one stays out of it.
        let with_key = |key| plan(&[], &[]).overrides(&values(&[(ANON_KEY, key)]));
        assert_eq!(with_key("sb_secret_AnInventedExampleKey"), [""; 0]);
        assert_eq!(
            with_key("sb_publishable_AnInventedExampleKey"),
            ["SupabaseAnonKey=sb_publishable_AnInventedExampleKey"]
        );
    }
}

//! What is to be done, from the files that there are and what the database has recorded.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use serde::Deserialize;

use super::files::Migration;

/// One row of `supabase_migrations.schema_migrations`.
#[derive(Deserialize)]
pub(crate) struct Recorded {
    version: String,
    /// None if the Supabase CLI applied it.
    sha256: Option<String>,
}

#[derive(Default)]
pub(crate) struct MigrationPlan<'a> {
    /// How many stand.
    pub(crate) applied: usize,
    /// Those among them whose checksum isn't known yet.
    pub(crate) adopted: Vec<&'a Migration>,
    /// Those that aren't recorded, but whose work was found to be there.
    pub(crate) standing: Vec<&'a Migration>,
    /// Oldest first.
    pub(crate) pending: Vec<&'a Migration>,
    /// Recorded versions older than our first: other migrations of the same database.
    pub(crate) others: usize,
}

/// Why nothing can be applied. What it shows is for an operator.
#[derive(Debug, PartialEq)]
pub(crate) enum Refusal {
    /// Files that aren't what was applied.
    Changed(Vec<String>),
    /// Versions without a file.
    Unknown(Vec<String>),
    /// Files older than an applied one.
    Gap { files: Vec<String>, newest: String },
}

impl<'a> MigrationPlan<'a> {
    /// `migrations` oldest first. With `include_all`, those in a gap are pending.
    pub(crate) fn of(migrations: &'a [Migration], recorded: &[Recorded], include_all: bool) -> Result<Self, Refusal> {
        let first = migrations.first().map_or("", |migration| &migration.version);
        let ours: BTreeSet<&str> = migrations.iter().map(|migration| migration.version.as_str()).collect();
        let (others, unknown): (Vec<_>, Vec<_>) = recorded
            .iter()
            .map(|row| row.version.as_str())
            .filter(|version| !ours.contains(version))
            .partition(|version| *version < first);
        if !unknown.is_empty() {
            return Err(Refusal::Unknown(unknown.into_iter().map(str::to_owned).collect()));
        }

        let sums: BTreeMap<&str, Option<&str>> =
            recorded.iter().map(|row| (row.version.as_str(), row.sha256.as_deref())).collect();
        let mut plan = MigrationPlan { others: others.len(), ..MigrationPlan::default() };
        let mut changed = Vec::new();
        let mut newest = None;
        for migration in migrations {
            match sums.get(migration.version.as_str()) {
                None => {
                    plan.pending.push(migration);
                    continue;
                }
                Some(None) => plan.adopted.push(migration),
                Some(Some(sum)) if *sum != migration.sha256 => changed.push(migration.file()),
                Some(Some(_)) => {}
            }
            plan.applied += 1;
            newest = Some(migration);
        }
        if !changed.is_empty() {
            return Err(Refusal::Changed(changed));
        }
        if let Some(newest) = newest.filter(|_| !include_all) {
            let gap = plan.pending.iter().filter(|migration| migration.version < newest.version);
            let files: Vec<String> = gap.map(|migration| migration.file()).collect();
            if !files.is_empty() {
                return Err(Refusal::Gap { files, newest: newest.file() });
            }
        }
        Ok(plan)
    }

    /// Whether nothing is to be done.
    pub(crate) fn is_empty(&self) -> bool {
        self.pending.is_empty() && self.adopted.is_empty() && self.standing.is_empty()
    }

    /// Whether not even the first migration is recorded.
    pub(crate) const fn begins_anew(&self) -> bool {
        self.applied == 0
    }

    /// The first so many of the pending stand already.
    pub(crate) fn take_over(&mut self, standing: usize) {
        self.standing.extend(self.pending.drain(..standing.min(self.pending.len())));
    }
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Changed(files) => write!(
                f,
                "changed after it was applied: {}. Restore what was applied (git log shows it) and put the change into a \
                 new migration. If it changes nothing in a database, as a comment does, delete the version's row from \
                 supabase_migrations.ghl_sync_checksums: the checksum is then taken over anew",
                files.join(", ")
            ),
            Self::Unknown(versions) => write!(
                f,
                "the database has migrations that this code doesn't know: {}. It is newer than this code: update the \
                 code. If they belong to another project, apply with `psql -f` what you want from infra/supabase",
                versions.join(", ")
            ),
            Self::Gap { files, newest } => write!(
                f,
                "not applied, though the newer {newest} is: {}. Written for an older state of the database: see \
                 whether they still fit, then --include-all applies them",
                files.join(", ")
            ),
        }
    }
}

impl std::error::Error for Refusal {}

#[cfg(test)]
mod tests {
    use super::super::files::tests::migration;
    use super::*;

    fn files() -> Vec<Migration> {
        ["10", "20", "30"].map(|version| migration(version, version)).into()
    }

    fn recorded(rows: &[(&str, Option<&str>)]) -> Vec<Recorded> {
        let row = |&(version, content): &(&str, Option<&str>)| Recorded {
            version: version.to_owned(),
            sha256: content.map(|content| format!("sum of {content}")),
        };
        rows.iter().map(row).collect()
    }

    fn versions<'a>(migrations: &[&'a Migration]) -> Vec<&'a str> {
        migrations.iter().map(|migration| migration.version.as_str()).collect()
    }

    #[test]
    fn in_an_empty_database_all_is_pending_in_order() {
        let files = files();
        let plan = MigrationPlan::of(&files, &[], false).unwrap();
        assert_eq!((plan.applied, versions(&plan.pending)), (0, vec!["10", "20", "30"]));
    }

    #[test]
    fn what_stands_unchanged_is_not_pending() {
        let files = files();
        let plan = MigrationPlan::of(&files, &recorded(&[("10", Some("10")), ("20", Some("20"))]), false).unwrap();
        assert_eq!((plan.applied, versions(&plan.adopted), versions(&plan.pending)), (2, vec![], vec!["30"]));
    }

    #[test]
    fn what_the_supabase_cli_applied_is_adopted() {
        let files = files();
        let plan = MigrationPlan::of(&files, &recorded(&[("10", Some("10")), ("20", None)]), false).unwrap();
        assert_eq!((plan.applied, versions(&plan.adopted), versions(&plan.pending)), (2, vec!["20"], vec!["30"]));
    }

    #[test]
    fn a_file_that_changed_is_refused_by_name() {
        let refused = MigrationPlan::of(&files(), &recorded(&[("10", Some("something else"))]), true).err();
        assert_eq!(refused, Some(Refusal::Changed(vec!["10_some_name.sql".to_owned()])));
    }

    #[test]
    fn a_version_without_a_file_is_refused_unless_older_than_ours() {
        let files = files();
        for unknown in ["15", "40"] {
            let refused = MigrationPlan::of(&files, &recorded(&[(unknown, None)]), true).err();
            assert_eq!(refused, Some(Refusal::Unknown(vec![unknown.to_owned()])));
        }
        let plan = MigrationPlan::of(&files, &recorded(&[("05", None)]), false).unwrap();
        assert_eq!((plan.others, plan.applied, plan.pending.len()), (1, 0, 3));
    }

    #[test]
    fn a_gap_is_refused_unless_asked_for() {
        let files = files();
        let rows = recorded(&[("20", Some("20"))]);
        let refused = MigrationPlan::of(&files, &rows, false).err();
        let gap = Refusal::Gap { files: vec!["10_some_name.sql".to_owned()], newest: "20_some_name.sql".to_owned() };
        assert_eq!(refused, Some(gap));
        assert_eq!(versions(&MigrationPlan::of(&files, &rows, true).unwrap().pending), ["10", "30"]);
    }
}

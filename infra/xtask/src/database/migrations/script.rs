//! What psql is told to do. Each step says on its output that it began and that it stands.

use std::path::Path;

use super::files::{Migration, file_name};
use super::plan::MigrationPlan;

/// Printed with a file's name.
pub(crate) const BEGUN: &str = "begun";
pub(crate) const STANDS: &str = "stands";
/// Another run has the lock.
pub(crate) const BUSY: &str = "busy";
/// The records aren't those of the plan.
pub(crate) const MOVED: &str = "moved";

/// Printed with the names of the original app's tables that the public key still reaches, and how.
pub(crate) const OPEN: &str = "open";

/// Printed if there are tables of ours.
pub(crate) const MADE: &str = "made";

/// Prints the records, as JSON, and before them which tables are open and whether there are tables of ours.
pub(crate) fn reading() -> String {
    let (settings, open, state) =
        (include_str!("sql/settings.sql"), include_str!("sql/open.sql"), include_str!("sql/state.sql"));
    format!("{settings}{open}\\echo {OPEN} :open\n\\if :made\n\\echo {MADE}\n\\endif\n{state}\\echo :state\n")
}

/// Prints what the database holds, as JSON.
pub(crate) fn telling_the_catalogue() -> String {
    format!(
        "{}\\pset tuples_only on\n\\pset format unaligned\n{};\n",
        include_str!("sql/settings.sql"),
        schema::catalogue::QUERY.trim_end()
    )
}

/// Applies what is planned. `planned` is what `reading` has printed.
pub(crate) fn applying(plan: &MigrationPlan<'_>, last_steps: &[impl AsRef<Path>], planned: &str) -> String {
    let mut script = String::from("\\o /dev/null\n");
    script.push_str(include_str!("sql/settings.sql"));
    script.push_str(include_str!("sql/lock.sql"));
    script.push_str(include_str!("sql/state.sql"));
    script.push_str(&set("planned", planned));
    script.push_str(include_str!("sql/unchanged.sql"));
    script.push_str(include_str!("sql/tables.sql"));
    for migration in &plan.adopted {
        script.push_str(&checksum(migration));
    }
    for migration in &plan.standing {
        script.push_str(&format!("begin;\n{}commit;\n", record(migration)));
    }
    for migration in &plan.pending {
        script.push_str(&in_transaction(&migration.path, &record(migration)));
    }
    for file in last_steps {
        script.push_str(&in_transaction(file.as_ref(), ""));
    }
    script
}

fn in_transaction(file: &Path, record: &str) -> String {
    let settings = include_str!("sql/settings.sql");
    let name = quoted(&file_name(file));
    let path = quoted(&file.to_string_lossy());
    format!("\\echo {BEGUN} {name}\n{settings}begin;\n\\i {path}\n{settings}{record}commit;\n\\echo {STANDS} {name}\n")
}

fn record(migration: &Migration) -> String {
    let (name, content) = (set("name", &migration.name), set("content", &migration.content));
    name + &content + &checksum(migration) + include_str!("sql/record.sql")
}

fn checksum(migration: &Migration) -> String {
    let values = set("version", &migration.version) + &set("sha256", &migration.sha256);
    values + include_str!("sql/checksum.sql")
}

fn set(variable: &str, value: &str) -> String {
    format!("\\set {variable} {}\n", quoted(value))
}

/// An argument of a psql command: within single quotes, with C's escapes, on one line.
fn quoted(text: &str) -> String {
    let mut quoted = String::from("'");
    for character in text.chars() {
        match character {
            '\'' => quoted.push_str("\\'"),
            '\\' => quoted.push_str("\\\\"),
            '\n' => quoted.push_str("\\n"),
            '\r' => quoted.push_str("\\r"),
            other => quoted.push(other),
        }
    }
    quoted.push('\'');
    quoted
}

#[cfg(test)]
mod tests {
    use super::super::files::tests::migration;
    use super::*;

    #[test]
    fn an_argument_is_one_line_whatever_it_holds() {
        assert_eq!(quoted("it's\r\n$$ \\d :x `ls`"), r"'it\'s\r\n$$ \\d :x `ls`'");
    }

    /// What is open is asked before there is a function of ours, and answered as the function answers.
    #[test]
    fn what_is_open_is_asked_in_the_words_of_the_schema() {
        let schema = include_str!("../../../../supabase/schemas/rights.sql");
        let (_, function) = schema.split_once("function sync_internal.open_relations()").unwrap();
        let rule = function.split("$$").nth(1).unwrap();
        assert!(rule.contains("pg_policy"), "{rule}");
        assert!(include_str!("sql/open.sql").contains(rule), "sql/open.sql has another rule than {rule}");
    }

    #[test]
    fn each_migration_and_its_record_share_a_transaction() {
        let files = [migration("1", "select 1;"), migration("2", "select 2;")];
        let plan = MigrationPlan { pending: files.iter().collect(), ..MigrationPlan::default() };
        let script = applying(&plan, &["/last.sql"], "[]");
        let order: Vec<&str> = script
            .lines()
            .filter(|line| line.starts_with("\\echo ") || line.starts_with("\\i ") || line.starts_with("insert into"))
            .chain([""])
            .collect();
        assert_eq!(script.matches("begin;").count(), script.matches("commit;").count());
        let expected = [
            "\\echo begun '1_some_name.sql'",
            "\\i '/migrations/1_some_name.sql'",
            "insert into supabase_migrations.ghl_sync_checksums (version, sha256)",
            "insert into supabase_migrations.schema_migrations (version, name, statements)",
            "\\echo stands '1_some_name.sql'",
        ];
        assert_eq!(order[..5], expected);
        assert_eq!(order[10..13], ["\\echo begun 'last.sql'", "\\i '/last.sql'", "\\echo stands 'last.sql'"]);
    }
}

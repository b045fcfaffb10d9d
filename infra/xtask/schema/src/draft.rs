//! The next migration, from what differs between the schema files and the migrations that there are.

use std::fmt::Write as _;

use crate::catalogue::Difference;

/// Kinds whose statements are written into a migration, in their order there: each may rest on those before it.
const REPEATABLE: [&str; 6] = ["schema", "function", "view", "trigger", "row level security", "rights"];

/// A migration's text, and what its author still has to write.
#[derive(Debug, PartialEq, Eq)]
pub struct Draft {
    /// The file.
    pub text: String,
    /// One line for each change that only a person can decide: what becomes of the rows that are there.
    pub to_write: Vec<String>,
}

/// Drafts the migration that makes a database of the migrations into one of the schema files.
#[must_use]
pub fn draft(name: &str, differences: &[Difference]) -> Draft {
    let mut to_write = Vec::new();
    let mut made: Vec<(usize, i64, &str)> = Vec::new();
    for difference in differences {
        let entry = difference.entry();
        let rank = REPEATABLE.iter().position(|kind| *kind == entry.kind);
        match (difference, rank, &entry.statement) {
            (Difference::Missing(_) | Difference::Changed(..), Some(rank), Some(statement)) => {
                made.push((rank, entry.position, statement));
            }
            // The rights and the owner of what isn't there any more.
            (Difference::Surplus(_), _, _)
                if matches!(entry.kind.as_str(), "rights" | "owner" | "row level security") => {}
            // Of a new object: it is made by its owner. Of an old one nobody would know why.
            (Difference::Missing(_), _, _) if entry.kind == "owner" => {}
            (Difference::Missing(_), _, _) => {
                to_write.push(format!("{} {} is new: {}", entry.kind, entry.name, one_line(&entry.definition)));
            }
            (Difference::Changed(wanted, found), _, _) => to_write.push(format!(
                "{} {} was {} and becomes {}",
                entry.kind,
                entry.name,
                one_line(&found.definition),
                one_line(&wanted.definition)
            )),
            (Difference::Surplus(_), _, _) => {
                to_write.push(format!("{} {} is in no schema file any more", entry.kind, entry.name));
            }
        }
    }
    made.sort_unstable();

    let mut text = format!("-- {}.\n", name.replace('_', " "));
    if !to_write.is_empty() {
        text.push_str(
            "--\n-- Still to be written here, so that no row is lost and the version before goes on working; `cargo xtask test database`\n\
             -- tells what is missing:\n",
        );
        for line in &to_write {
            let _ = writeln!(text, "--   {line}");
        }
    }
    if !made.is_empty() {
        text.push_str("\n-- A function may call one that comes after it.\nset check_function_bodies = off;\n");
        for (_, _, statement) in made {
            let _ = writeln!(text, "\n{statement}");
        }
        text.push_str("\n-- PostgREST learns of new functions.\nnotify pgrst, 'reload schema';\n");
    }
    Draft { text, to_write }
}

fn one_line(definition: &str) -> String {
    definition.split_whitespace().collect::<Vec<_>>().join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::catalogue::tests::{catalogue, entry};

    #[test]
    fn functions_are_written_whole_and_tables_are_left_to_a_person() {
        let schemas = catalogue(&[
            entry("rights", "function public.f(jsonb)", "service_role: execute"),
            entry("function", "public.f(jsonb)", "one"),
            entry("column", "public.t.a", "text"),
            entry("column", "public.t.b", "integer not null"),
        ]);
        let migrations = catalogue(&[
            entry("function", "public.f(jsonb)", "two"),
            entry("function", "public.gone(jsonb)", "x"),
            entry("column", "public.t.a", "integer"),
        ]);
        let draft = draft("mend_f", &schemas.differences(&migrations));
        let expected = [
            "column public.t.a was integer and becomes text",
            "column public.t.b is new: integer not null",
            "function public.gone(jsonb) is in no schema file any more",
        ];
        assert_eq!(draft.to_write, expected);
        let (function, rights) =
            (draft.text.find("make public.f(jsonb);"), draft.text.find("make function public.f(jsonb);"));
        assert!(function.is_some() && function < rights, "{}", draft.text);
        assert!(draft.text.starts_with("-- mend f.\n"));
        assert!(!draft.text.contains("make public.t"), "{}", draft.text);
    }

    #[test]
    fn nothing_differs_nothing_is_written() {
        let schemas = catalogue(&[entry("table", "public.t", "kept")]);
        assert_eq!(draft("none", &schemas.differences(&schemas)).to_write, Vec::<String>::new());
    }
}

//! The migration files, named and read as the Supabase CLI does.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use sha2::{Digest, Sha256};

use crate::database::sql_files::sql_files;

pub(crate) struct Migration {
    pub(crate) path: PathBuf,
    /// The digits that the file's name begins with. Compared as text, as the CLI does.
    pub(crate) version: String,
    /// The rest of the file's name, without its ending.
    pub(crate) name: String,
    pub(crate) content: String,
    /// In hexadecimal.
    pub(crate) sha256: String,
}

impl Migration {
    fn read(path: PathBuf) -> Result<Self> {
        let file = file_name(&path);
        let Some((version, name)) = version_and_name(&file) else {
            bail!("{file} isn't named <digits>_<name>.sql, so nothing can be recorded of it");
        };
        let content = fs::read_to_string(&path).with_context(|| format!("can't read {}", path.display()))?;
        if let Some(line) = line_that_leaves_the_transaction(&content) {
            bail!("{file} line {line} ends a transaction, so it could be applied by half: leave that to this command");
        }
        let sha256 = hex::encode(Sha256::digest(content.as_bytes()));
        Ok(Self { path, version, name, content, sha256 })
    }

    pub(crate) fn file(&self) -> String {
        file_name(&self.path)
    }
}

/// All migrations of a directory, oldest first.
pub(crate) fn migrations(dir: &Path) -> Result<Vec<Migration>> {
    let found: Vec<Migration> = sql_files(dir)?.into_iter().map(Migration::read).collect::<Result<_>>()?;
    if found.is_empty() {
        bail!("there are no migrations in {}", dir.display());
    }
    in_order(found)
}

fn in_order(mut found: Vec<Migration>) -> Result<Vec<Migration>> {
    found.sort_by(|one, other| one.version.cmp(&other.version));
    for pair in found.windows(2) {
        if let [one, other] = pair
            && one.version == other.version
        {
            bail!("{} and {} have the same version: give one another number", one.file(), other.file());
        }
    }
    Ok(found)
}

pub(crate) fn file_name(path: &Path) -> String {
    path.file_name().unwrap_or_default().to_string_lossy().into_owned()
}

fn version_and_name(file: &str) -> Option<(String, String)> {
    let (version, name) = file.strip_suffix(".sql")?.split_once('_')?;
    let digits = !version.is_empty() && version.bytes().all(|byte| byte.is_ascii_digit());
    digits.then(|| (version.to_owned(), name.to_owned()))
}

/// The number of the first line that holds nothing but the end of a transaction.
fn line_that_leaves_the_transaction(content: &str) -> Option<usize> {
    let ends = |line: &str| {
        let line = line.trim().to_ascii_lowercase();
        let word = line.split(';').next().unwrap_or_default().trim();
        line.contains(';') && matches!(word, "commit" | "rollback" | "commit work" | "end transaction" | "abort")
    };
    content.lines().position(ends).map(|index| index + 1)
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    pub(crate) fn migration(version: &str, content: &str) -> Migration {
        Migration {
            path: PathBuf::from(format!("/migrations/{version}_some_name.sql")),
            version: version.to_owned(),
            name: "some_name".to_owned(),
            content: content.to_owned(),
            sha256: format!("sum of {content}"),
        }
    }

    #[test]
    fn a_name_is_digits_and_the_rest() {
        let parts = |file| version_and_name(file).map(|(version, name)| format!("{version} {name}"));
        assert_eq!(parts("20261128000100_initial.sql").as_deref(), Some("20261128000100 initial"));
        for file in ["initial.sql", "1a_b.sql", "_b.sql", "1_b.txt", "20261128000100.sql"] {
            assert_eq!(parts(file), None, "{file}");
        }
    }

    #[test]
    fn two_files_of_one_version_are_refused() {
        let refused = in_order(vec![migration("2", ""), migration("1", ""), migration("2", "")]);
        assert!(refused.is_err_and(|error| error.to_string().contains("2_some_name.sql have the same version")));
        let sorted = in_order(vec![migration("2", ""), migration("1", "")]).unwrap();
        assert_eq!(sorted.iter().map(|one| one.version.as_str()).collect::<Vec<_>>(), ["1", "2"]);
    }

    #[test]
    fn the_end_of_a_transaction_is_found() {
        assert_eq!(line_that_leaves_the_transaction("select 1;\n  COMMIT ;\n"), Some(2));
        assert_eq!(line_that_leaves_the_transaction("begin\n  return 1;\nend;\n-- commit\non commit drop;"), None);
    }

    #[test]
    fn the_projects_own_migrations_are_read() {
        let dir = Path::new(env!("CARGO_MANIFEST_DIR")).join("../supabase/migrations");
        let first = &migrations(&dir).unwrap()[0];
        assert_eq!((first.version.as_str(), first.name.as_str()), ("20261128000100", "initial"));
        assert_eq!(first.sha256.len(), 64);
    }
}

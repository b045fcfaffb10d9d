//! Which schema files there are: the list `schema_paths` in the Supabase CLI's `config.toml`.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use serde::Deserialize;

/// Why the list can't be used.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The file can't be read.
    #[error("can't read {}", path.display())]
    Unreadable {
        /// Which.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// It isn't TOML, or lacks the list.
    #[error("{} has no list [db.migrations] schema_paths", path.display())]
    NoList {
        /// Which.
        path: PathBuf,
        /// What the reader says.
        #[source]
        source: toml::de::Error,
    },
    /// A name with a wildcard: the order of what it stands for would be that of the alphabet.
    #[error("schema_paths has {0}: name each file, since their order counts")]
    Wildcard(String),
    /// A file of the directory that the list doesn't name, or one that isn't there.
    #[error("schema_paths and the directory schemas disagree on {0}")]
    Unlisted(String),
}

#[derive(Deserialize)]
struct Config {
    db: Db,
}

#[derive(Deserialize)]
struct Db {
    migrations: Migrations,
}

#[derive(Deserialize)]
struct Migrations {
    schema_paths: Vec<String>,
}

/// The schema files of a `supabase` directory, in the order in which they are applied.
///
/// # Errors
/// [`Error`]: every file in `schemas` has to be on the list, and every file on the list has to be there.
pub fn schema_files(supabase: &Path) -> Result<Vec<PathBuf>, Error> {
    let path = supabase.join("config.toml");
    let text = fs::read_to_string(&path).map_err(|source| Error::Unreadable { path: path.clone(), source })?;
    let config: Config = toml::from_str(&text).map_err(|source| Error::NoList { path, source })?;
    let listed = config.db.migrations.schema_paths;
    if let Some(wildcard) = listed.iter().find(|name| name.contains(['*', '?', '['])) {
        return Err(Error::Wildcard(wildcard.clone()));
    }
    let files: Vec<PathBuf> = listed.iter().map(|name| supabase.join(name.trim_start_matches("./"))).collect();
    if let Some(missing) = files.iter().find(|file| !file.is_file()) {
        return Err(Error::Unlisted(name_of(missing)));
    }
    let directory = supabase.join("schemas");
    let unreadable = |source| Error::Unreadable { path: directory.clone(), source };
    for entry in fs::read_dir(&directory).map_err(unreadable)? {
        let file = entry.map_err(unreadable)?.path();
        if file.extension().is_some_and(|extension| extension == "sql") && !files.contains(&file) {
            return Err(Error::Unlisted(name_of(&file)));
        }
    }
    Ok(files)
}

fn name_of(file: &Path) -> String {
    file.file_name().unwrap_or_default().to_string_lossy().into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn supabase() -> PathBuf {
        Path::new(env!("CARGO_MANIFEST_DIR")).join("../../supabase")
    }

    #[test]
    fn the_projects_list_names_each_file_with_the_tables_first() {
        let files = schema_files(&supabase()).unwrap();
        assert_eq!(name_of(&files[0]), "tables.sql");
        assert!(files.len() > 10, "{files:?}");
    }

    #[test]
    fn what_is_wrong_with_a_list_is_named() {
        let directory = std::env::temp_dir().join(format!("ghl-sync-schema-paths-{}", std::process::id()));
        fs::create_dir_all(directory.join("schemas")).unwrap();
        for name in ["a.sql", "b.sql"] {
            fs::write(directory.join("schemas").join(name), "").unwrap();
        }
        let refused = |paths: &str| {
            fs::write(directory.join("config.toml"), format!("[db.migrations]\nschema_paths = {paths}\n")).unwrap();
            schema_files(&directory).map_or_else(|error| error.to_string(), |files| format!("{} files", files.len()))
        };
        assert_eq!(refused(r#"["./schemas/b.sql", "./schemas/a.sql"]"#), "2 files");
        assert!(refused(r#"["./schemas/b.sql"]"#).ends_with("disagree on a.sql"));
        assert!(refused(r#"["./schemas/b.sql", "./schemas/a.sql", "./schemas/c.sql"]"#).ends_with("disagree on c.sql"));
        assert!(refused(r#"["./schemas/*.sql"]"#).starts_with("schema_paths has ./schemas/*.sql"));
        assert!(refused("7").contains("no list [db.migrations] schema_paths"));
        fs::remove_dir_all(&directory).unwrap();
    }
}

//! The SQL files of a directory.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::Result;

/// All SQL files of a directory, in the order of their names. None if there is no such directory.
pub(crate) fn sql_files(dir: &Path) -> Result<Vec<PathBuf>> {
    let mut files = Vec::new();
    if dir.is_dir() {
        for entry in fs::read_dir(dir)? {
            let path = entry?.path();
            if path.extension().is_some_and(|extension| extension == "sql") {
                files.push(path);
            }
        }
    }
    files.sort();
    Ok(files)
}

//! A stack whose database is in another region for a while: `infra/local/supabase` says how far that is.

use std::fs;
use std::path::Path;

use anyhow::{Context, Result, bail};
use ureq::http::Method;

use crate::http::Http;
use crate::stack_file::StackFile;

/// The database is far until this is dropped.
pub(super) struct Far {
    door: Http,
}

impl Far {
    /// Moves the database of the stack that a file describes.
    pub(super) fn begin(stack_json: &Path) -> Result<Self> {
        let text = fs::read_to_string(stack_json).with_context(|| format!("can't read {}", stack_json.display()))?;
        let stack: StackFile = serde_json::from_str(&text).context("stack.json is damaged")?;
        let door = Http::new(stack.postgrest_url.trim_end_matches("/rest/v1"), None);
        let moved = door.send(Method::PUT, "/_control", &[], r#"{"far": true}"#)?;
        if !moved.ok() {
            bail!("the local Supabase refuses to be far: {}", moved.status);
        }
        Ok(Self { door })
    }
}

impl Drop for Far {
    fn drop(&mut self) {
        // As the stack was started. If it is gone, so is the distance.
        let _ = self.door.delete("/_control");
    }
}

//! axe-core in the page: barriers that a program can find.
//!
//! With the rules for WCAG 2.2, levels A and AA, and for best practice. `incomplete` results, which need a person's eye, are none.

use std::{env, fs, path::PathBuf, sync::LazyLock};

use serde_json::Value;
use tests::project;

use crate::page::Page;

/// The one that `AXE` names, as `cargo xtask test` does, or that of a stack that was set up.
static SCRIPT: LazyLock<String> = LazyLock::new(|| {
    let path = env::var_os("AXE").map(PathBuf::from);
    let path = path.unwrap_or_else(|| project("target/local/npm/node_modules/axe-core/axe.min.js"));
    fs::read_to_string(&path).unwrap_or_else(|error| {
        panic!("{} can't be read ({error}): `cargo xtask setup` installs axe-core", path.display())
    })
});

/// `target-size` is off unless it is asked for, though WCAG 2.2 has it.
const RUN: &str = "axe.run(document, { resultTypes: ['violations'], rules: { 'target-size': { enabled: true } } })
    .then(({ violations, passes }) => ({ passed: passes.length, found: violations.flatMap(({ id, help, nodes }) =>
        nodes.map(({ target, any, all, none }) => {
            const why = [...any, ...all, ...none].map((check) => check.message).join('; ');
            return `${id} at ${target.flat().join(' ')}: ${help} (${why})`;
        })) }))";

impl Page {
    /// What axe-core finds in what is shown now: a rule's id, where, and why.
    pub(crate) async fn barriers(&self) -> Vec<String> {
        self.browser.settle().await;
        if self.browser.evaluate("typeof axe").await == "undefined" {
            self.browser.evaluate(&format!("{}; true", *SCRIPT)).await;
        }
        let seen = self.browser.evaluate(RUN).await;
        assert!(seen["passed"].as_u64().is_some_and(|passed| passed > 5), "axe-core looked at nothing: {seen}");
        let found = seen["found"].as_array().expect("a list").iter();
        found.filter_map(Value::as_str).map(str::to_owned).collect()
    }

    /// axe-core finds nothing in what is shown now.
    pub(crate) async fn axe(&self, state: &str) {
        let barriers = self.barriers().await;
        assert!(barriers.is_empty(), "{state}: {barriers:#?}");
    }
}

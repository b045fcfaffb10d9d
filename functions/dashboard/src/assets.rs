//! The page's files, compiled into the binary: one request never waits for a disk or a bucket.

use std::hash::{DefaultHasher, Hash as _, Hasher as _};

/// The page itself.
pub(crate) const PAGE: &str = include_str!("../assets/index.html");

/// A file under `/assets/`.
#[derive(Debug)]
pub(crate) struct Asset {
    pub(crate) name: &'static str,
    pub(crate) content_type: &'static str,
    pub(crate) content: &'static str,
}

impl Asset {
    /// Changes whenever the content does. `DefaultHasher::new` has fixed keys, so every instance of the function agrees.
    pub(crate) fn etag(&self) -> String {
        let mut hasher = DefaultHasher::new();
        self.content.hash(&mut hasher);
        format!("\"{:016x}\"", hasher.finish())
    }
}

macro_rules! assets {
    ($($name:literal: $content_type:expr),+ $(,)?) => {
        /// Every file but `config.json`, which is made from the environment.
        pub(crate) const ASSETS: &[Asset] =
            &[$(Asset { name: $name, content_type: $content_type, content: include_str!(concat!("../assets/", $name)) }),+];
    };
}

const SCRIPT: &str = "text/javascript; charset=utf-8";

assets! {
    "app.js": SCRIPT,
    "api.js": SCRIPT,
    "attention.js": SCRIPT,
    "bars.js": SCRIPT,
    "current.js": SCRIPT,
    "details.js": SCRIPT,
    "elements.js": SCRIPT,
    "ending.js": SCRIPT,
    "eta.js": SCRIPT,
    "failures.js": SCRIPT,
    "format.js": SCRIPT,
    "lists.js": SCRIPT,
    "order.js": SCRIPT,
    "orders.js": SCRIPT,
    "picture.js": SCRIPT,
    "progress.js": SCRIPT,
    "reasons.js": SCRIPT,
    "session.js": SCRIPT,
    "socket.js": SCRIPT,
    "start.js": SCRIPT,
    "view.js": SCRIPT,
    "app.css": "text/css; charset=utf-8",
    "icon.svg": "image/svg+xml",
}

#[cfg(test)]
mod tests {
    use std::{collections::BTreeSet, fs};

    use super::*;

    #[test]
    fn every_file_of_the_folder_is_served() {
        let folder: BTreeSet<String> = fs::read_dir(concat!(env!("CARGO_MANIFEST_DIR"), "/assets"))
            .unwrap()
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .filter(|name| name != "index.html")
            .collect();
        assert_eq!(folder, ASSETS.iter().map(|asset| asset.name.to_owned()).collect());
    }

    #[test]
    fn every_file_the_page_and_its_scripts_name_is_served() {
        let served = |name: &str| ASSETS.iter().any(|asset| asset.name == name);
        let from_page = PAGE.split("assets/").skip(1);
        let from_scripts = ASSETS.iter().flat_map(|asset| asset.content.split("from \"./").skip(1));
        for name in from_page.chain(from_scripts).filter_map(|rest| rest.split('"').next()) {
            assert!(served(name), "{name} is named but not served");
        }
    }

    #[test]
    fn nothing_is_inline_or_fetched_from_elsewhere() {
        for forbidden in ["<style", "style=\"", "<script>", "onclick", "http://", "https://", "src=\"/", "href=\"/"] {
            assert!(!PAGE.contains(forbidden), "the page contains {forbidden}");
        }
        for asset in ASSETS.iter().filter(|asset| asset.name.ends_with(".js")) {
            for forbidden in ["innerHTML", "insertAdjacentHTML", "document.write", "eval("] {
                assert!(!asset.content.contains(forbidden), "{} contains {forbidden}", asset.name);
            }
        }
    }
}

//! The page's files, compressed and compiled into the binary: one request never waits for a disk or a bucket.

// `VERSION`, which is the folder of this version's files and changes with each of them; `PAGE`; `ASSETS`, every file but `config.json`.
include!(concat!(env!("OUT_DIR"), "/assets.rs"));

/// A file under `/assets/<VERSION>/`.
#[derive(Debug)]
pub(crate) struct Asset {
    pub(crate) name: &'static str,
    pub(crate) content_type: &'static str,
    pub(crate) content: Content,
}

/// A file in each of its forms.
#[derive(Debug)]
pub(crate) struct Content {
    pub(crate) plain: &'static str,
    pub(crate) brotli: &'static [u8],
    pub(crate) gzip: &'static [u8],
    /// Changes whenever the content does.
    pub(crate) tag: &'static str,
}

impl Asset {
    /// The file at this path, if it is one of this version's.
    pub(crate) fn at(path: &str) -> Option<&'static Self> {
        let name = path.strip_prefix("/assets/")?.strip_prefix(VERSION)?.strip_prefix('/')?;
        ASSETS.iter().find(|asset| asset.name == name)
    }
}

#[cfg(test)]
mod tests {
    use std::io::Read as _;
    use std::{collections::BTreeSet, fs};

    use super::*;

    fn every_content() -> impl Iterator<Item = (&'static str, &'static Content)> {
        ASSETS.iter().map(|asset| (asset.name, &asset.content)).chain([("index.html", &PAGE)])
    }

    #[test]
    fn every_file_of_the_folder_is_served() {
        let folder: BTreeSet<String> = fs::read_dir(concat!(env!("CARGO_MANIFEST_DIR"), "/assets"))
            .unwrap()
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .filter(|name| name != "index.html")
            .collect();
        assert_eq!(folder, ASSETS.iter().map(|asset| asset.name.to_owned()).collect());
        assert!(folder.len() > 5, "{folder:?}");
    }

    #[test]
    fn each_form_of_a_file_holds_the_same() {
        for (name, content) in every_content() {
            let mut text = String::new();
            brotli::Decompressor::new(content.brotli, 4096).read_to_string(&mut text).unwrap();
            assert_eq!(text, content.plain, "{name}, brotli");
            let mut text = String::new();
            flate2::read::GzDecoder::new(content.gzip).read_to_string(&mut text).unwrap();
            assert_eq!(text, content.plain, "{name}, gzip");
            assert!(content.brotli.len() < content.plain.len(), "{name}");
        }
    }

    #[test]
    fn a_first_view_is_below_100_kb() {
        for (form, size) in [
            ("brotli", every_content().map(|(_, content)| content.brotli.len()).sum::<usize>()),
            ("gzip", every_content().map(|(_, content)| content.gzip.len()).sum()),
        ] {
            println!("{form}: {size} bytes");
            // What is left is for headers and config.json.
            assert!(size > 5_000 && size < 90_000, "{form}: {size} bytes");
        }
    }

    #[test]
    fn every_file_the_page_and_its_scripts_name_is_served() {
        let folder = format!("assets/{VERSION}/");
        let from_page: Vec<_> = PAGE.plain.split("assets/").skip(1).filter_map(|rest| rest.split('"').next()).collect();
        assert!(from_page.len() > 5, "{from_page:?}");
        for name in from_page.into_iter().filter(|name| *name != "config.json") {
            assert!(Asset::at(&format!("/assets/{name}")).is_some(), "the page names {name}, which isn't in {folder}");
        }
        // Scripts name each other beside themselves. By `assets/` they would look for what has no version.
        for asset in ASSETS {
            for name in asset.content.plain.split("from \"./").skip(1).filter_map(|rest| rest.split('"').next()) {
                assert!(ASSETS.iter().any(|asset| asset.name == name), "{name} is named but not served");
            }
            for named in asset.content.plain.split("assets/").skip(1) {
                assert!(named.starts_with("config.json"), "{} names a file by its folder: {named:.40}", asset.name);
            }
        }
    }

    #[test]
    fn nothing_is_inline_or_fetched_from_elsewhere() {
        for forbidden in ["<style", "style=\"", "<script>", "onclick", "http://", "https://", "src=\"/", "href=\"/"] {
            assert!(!PAGE.plain.contains(forbidden), "the page contains {forbidden}");
        }
        for asset in ASSETS.iter().filter(|asset| asset.name.ends_with(".js")) {
            for forbidden in ["innerHTML", "insertAdjacentHTML", "document.write", "eval("] {
                assert!(!asset.content.plain.contains(forbidden), "{} contains {forbidden}", asset.name);
            }
        }
    }
}

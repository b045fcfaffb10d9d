use std::collections::{BTreeMap, BTreeSet};
use std::path::{Component, Path, PathBuf};

/// Built, fetched, or not ours.
const SKIPPED: [&str; 3] = ["target", "node_modules", ".git"];

/// Every page of the project.
fn pages() -> BTreeMap<PathBuf, String> {
    let mut pages = BTreeMap::new();
    let mut open = vec![PathBuf::new()];
    while let Some(directory) = open.pop() {
        for entry in std::fs::read_dir(docs::project(".").join(&directory)).unwrap() {
            let entry = entry.unwrap();
            let name = entry.file_name().to_string_lossy().into_owned();
            let path = directory.join(&name);
            if entry.file_type().unwrap().is_dir() && !SKIPPED.contains(&name.as_str()) {
                open.push(path);
            } else if name.ends_with(".md") {
                pages.insert(path, std::fs::read_to_string(entry.path()).unwrap());
            }
        }
    }
    assert!(pages.len() > 10, "{:?}", pages.keys());
    pages
}

/// A page's lines without what stands in fences.
fn prose(page: &str) -> String {
    let mut fenced = false;
    let lines = page.lines().filter(|line| {
        let fence = line.trim_start().starts_with("```");
        fenced ^= fence;
        !fenced && !fence
    });
    lines.flat_map(|line| [line, "\n"]).collect()
}

/// The anchors that GitHub makes of a page's headings: lower case, blanks as hyphens, other signs dropped, numbered where they are equal.
fn anchors(page: &str) -> BTreeSet<String> {
    let prose = prose(page);
    let headings = prose.lines().filter(|line| line.starts_with('#')).map(|line| line.trim_start_matches('#').trim());
    let mut anchors = BTreeSet::new();
    for heading in headings {
        let kept = heading.to_lowercase().replace(' ', "-");
        let kept: String = kept.chars().filter(|c| c.is_alphanumeric() || ['-', '_'].contains(c)).collect();
        // The second of two equal headings is `-1`.
        let numbered = (1..).map(|number| format!("{kept}-{number}"));
        let free = std::iter::once(kept.clone()).chain(numbered).find(|anchor| !anchors.contains(anchor));
        anchors.extend(free);
    }
    anchors
}

/// The targets of links and pictures: `[words](target)`.
fn targets(page: &str) -> Vec<String> {
    let prose = prose(page);
    let targets = prose.split("](").skip(1).filter_map(|rest| rest.split(')').next());
    // A link may be broken over two lines.
    targets.map(|target| target.split_whitespace().collect()).collect()
}

/// `a/../b` as `b`; outside of the project as it is.
fn plain(path: &Path) -> PathBuf {
    let mut plain = PathBuf::new();
    for part in path.components() {
        match part {
            Component::ParentDir if plain.file_name().is_some() => drop(plain.pop()),
            Component::CurDir => {}
            part => plain.push(part),
        }
    }
    plain
}

#[test]
fn every_link_leads_somewhere() {
    let pages = pages();
    let mut broken = Vec::new();
    for (path, page) in &pages {
        for target in targets(page).iter().filter(|target| !target.starts_with("http")) {
            let (file, anchor) = target.split_once('#').map_or((target.as_str(), None), |(file, a)| (file, Some(a)));
            let there = if file.is_empty() { path.clone() } else { plain(&path.parent().unwrap().join(file)) };
            let found = match (pages.get(&there), anchor) {
                (Some(page), Some(anchor)) => anchors(page).contains(anchor),
                (_, None) => !there.starts_with("..") && docs::project(".").join(&there).exists(),
                (None, Some(_)) => false,
            };
            if !found {
                broken.push(format!("{}: {target}", path.display()));
            }
        }
    }
    assert!(broken.is_empty(), "links that lead nowhere:\n{}", broken.join("\n"));
}

/// It is the one page that everybody reads.
#[test]
fn the_readme_is_one_page() {
    let lines = docs::text("README.md").lines().count();
    assert!(lines <= 120, "README.md has {lines} lines: what only some need goes to infra/docs");
}

#[test]
fn anchors_are_those_of_github() {
    let page = "# A `code`, and *more*\n```\n# not this\n```\n## 5. Give roles\n## 5. Give roles\n";
    let expected = ["a-code-and-more", "5-give-roles", "5-give-roles-1"];
    assert_eq!(anchors(page), BTreeSet::from(expected.map(str::to_owned)));
    assert_eq!(plain(Path::new("infra/docs/../../README.md")), Path::new("README.md"));
}

//! What the functions and what they share say, as text: string literals, and the calls they stand in. Tests are left out.

use std::path::Path;

/// A file of ours, without comments and tests.
pub(crate) struct Source {
    pub(crate) path: String,
    pub(crate) text: String,
}

/// A string literal.
pub(crate) struct Literal<'a> {
    /// What stands before its quote.
    pub(crate) before: &'a str,
    pub(crate) value: &'a str,
    /// What stands behind its quote.
    pub(crate) after: &'a str,
}

/// All that runs on Lambda.
pub(crate) fn deployed() -> Vec<Source> {
    let mut sources = Vec::new();
    for group in ["functions", "shared"] {
        for entry in std::fs::read_dir(docs::project(group)).unwrap() {
            collect(&entry.unwrap().path().join("src"), &mut sources);
        }
    }
    assert!(sources.len() > 50, "only {} files were found", sources.len());
    sources
}

fn collect(directory: &Path, sources: &mut Vec<Source>) {
    let Ok(entries) = std::fs::read_dir(directory) else { return };
    for path in entries.map(|entry| entry.unwrap().path()) {
        let name = path.file_name().unwrap().to_string_lossy().into_owned();
        if path.is_dir() && name != "tests" {
            collect(&path, sources);
        } else if name.ends_with(".rs") && name != "tests.rs" {
            let text = std::fs::read_to_string(&path).unwrap();
            let text = text.split("#[cfg(test)]").next().unwrap();
            let lines = text.lines().filter(|line| !line.trim_start().starts_with("//"));
            let text: String = lines.flat_map(|line| [line, "\n"]).collect();
            // A module of tests under another name.
            if text.contains("#[test]") || text.contains("#[tokio::test]") {
                continue;
            }
            sources.push(Source { path: path.display().to_string(), text });
        }
    }
}

impl Source {
    pub(crate) fn literals(&self) -> Vec<Literal<'_>> {
        let text = self.text.as_str();
        let mut literals = Vec::new();
        let mut at = 0;
        while let Some(found) = text[at..].find('"').map(|found| at + found) {
            if text[..found].ends_with('\'') && text[found + 1..].starts_with('\'') {
                at = found + 2;
                continue;
            }
            let hashes = text[..found].len() - text[..found].trim_end_matches('#').len();
            let raw = text[..found - hashes].ends_with('r');
            let end = if raw { raw_end(text, found, hashes) } else { plain_end(text, found) };
            literals.push(Literal { before: &text[..found], value: &text[found + 1..end], after: &text[end + 1..] });
            at = end + 1;
        }
        literals
    }
}

fn raw_end(text: &str, begin: usize, hashes: usize) -> usize {
    let closing = format!("\"{}", "#".repeat(hashes));
    begin + 1 + text[begin + 1..].find(&closing).unwrap()
}

fn plain_end(text: &str, begin: usize) -> usize {
    let mut escaped = false;
    let closing = |letter: char| {
        let ends = letter == '"' && !escaped;
        escaped = letter == '\\' && !escaped;
        ends
    };
    begin + 1 + text[begin + 1..].find(closing).unwrap()
}

/// The arguments of a call, from what stands behind its opening parenthesis.
pub(crate) fn arguments(behind: &str) -> Vec<&str> {
    let (mut depth, mut quoted, mut escaped, mut begin) = (0, false, false, 0);
    let mut arguments = Vec::new();
    for (at, letter) in behind.char_indices() {
        match letter {
            _ if quoted => {
                quoted = letter != '"' || escaped;
                escaped = letter == '\\' && !escaped;
            }
            '"' => quoted = true,
            '(' | '[' | '{' => depth += 1,
            ')' | ']' | '}' if depth == 0 => {
                arguments.push(behind[begin..at].trim());
                break;
            }
            ')' | ']' | '}' => depth -= 1,
            ',' if depth == 0 => {
                arguments.push(behind[begin..at].trim());
                begin = at + 1;
            }
            _ => {}
        }
    }
    arguments
}

#[test]
fn literals_and_arguments_are_read() {
    let text = r##"f("a\"b", '"', r#"c"d"#, g(1, "x,y)"), END) + ("z")"##.to_owned();
    let source = Source { path: String::new(), text };
    let values: Vec<_> = source.literals().iter().map(|literal| literal.value).collect();
    assert_eq!(values, [r#"a\"b"#, "c\"d", "x,y)", "z"]);
    assert_eq!(arguments(r#""a", g(1, "x,y)"), END) + 1"#), [r#""a""#, r#"g(1, "x,y)")"#, "END"]);
}

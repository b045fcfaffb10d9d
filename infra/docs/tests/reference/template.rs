//! What `template.yaml` says, read line by line: no YAML reader is among the dependencies, and the form of these lines hardly varies. What
//! isn't understood is counted, so that it can't be overlooked.

use std::collections::{BTreeMap, BTreeSet};

pub(crate) struct Template(String);

/// An event of the HTTP API.
pub(crate) struct HttpRoute {
    /// Such as `GET /api/qrapp/runs`.
    pub(crate) name: String,
    /// Whether it needs no session.
    pub(crate) open: bool,
}

/// What an environment variable is set to.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum SetTo {
    Parameter(String),
    Resource,
}

impl Template {
    pub(crate) fn read() -> Self {
        Self(docs::text("template.yaml"))
    }

    /// The lines of a section at the left margin, without comments.
    fn section(&self, name: &str) -> Vec<&str> {
        let lines = self.0.lines().skip_while(|line| line.trim_end() != format!("{name}:")).skip(1);
        let lines: Vec<_> = lines
            .take_while(|line| line.is_empty() || line.starts_with(' '))
            .filter(|line| !is_comment(line))
            .collect();
        assert!(!lines.is_empty(), "template.yaml has no section {name}");
        lines
    }

    pub(crate) fn http_routes(&self) -> Vec<HttpRoute> {
        let lines = self.section("Resources");
        let events = lines.iter().filter(|line| line.trim() == "Type: HttpApi").count();
        let routes: Vec<_> = lines
            .iter()
            .filter(|line| line.contains("ApiId: !Ref HttpApi, Method: "))
            .map(|line| route(line))
            .collect();
        assert_eq!(routes.len(), events, "each event of the HTTP API has its properties in one line");
        routes
    }

    /// The routes of the WebSocket API.
    pub(crate) fn socket_routes(&self) -> BTreeSet<String> {
        let lines = self.section("Resources");
        let after = lines.iter().skip_while(|line| line.trim() != "Type: AWS::Serverless::WebSocketApi");
        let api = after.skip(1).take_while(|line| indent(line) > 2 || line.is_empty());
        let keys = api.filter_map(|line| line.trim().strip_suffix(':')).filter(|key| key.starts_with('$'));
        keys.map(str::to_owned).collect()
    }

    /// Parameters and their defaults; `None` for one that must be given.
    pub(crate) fn parameters(&self) -> BTreeMap<String, Option<String>> {
        let mut parameters = BTreeMap::new();
        let mut current = String::new();
        for line in self.section("Parameters") {
            if indent(line) == 2 {
                current = line.trim().trim_end_matches(':').to_owned();
                parameters.insert(current.clone(), None);
            } else if let Some(default) = line.strip_prefix("    Default: ") {
                parameters.insert(current.clone(), Some(default.trim().trim_matches('\'').to_owned()));
            }
        }
        parameters
    }

    /// What the functions' environment variables are set to.
    pub(crate) fn variables(&self) -> BTreeMap<String, SetTo> {
        let parameters = self.parameters();
        let mut variables = BTreeMap::new();
        for section in ["Globals", "Resources"] {
            let mut block = None;
            for line in self.section(section) {
                if line.trim() == "Variables:" {
                    block = Some(indent(line));
                } else if block.is_some_and(|outer| indent(line) > outer) {
                    let (name, value) = line.trim().split_once(": ").unwrap();
                    let parameter = value.strip_prefix("!Ref ").filter(|name| parameters.contains_key(*name));
                    let set_to = parameter.map_or(SetTo::Resource, |name| SetTo::Parameter(name.to_owned()));
                    let before = variables.insert(name.to_owned(), set_to.clone());
                    assert!(before.is_none_or(|before| before == set_to), "{name} is set to two things");
                } else {
                    block = None;
                }
            }
        }
        variables
    }

    /// The queues that have a dead-letter queue.
    pub(crate) fn queues(&self) -> BTreeSet<String> {
        let lines = self.section("Resources");
        let pairs = lines.iter().zip(lines.iter().skip(1));
        let queues = pairs.filter(|(_, kind)| kind.trim() == "Type: AWS::SQS::Queue").map(|(name, _)| name.trim());
        queues.map(|name| name.trim_end_matches(':').to_owned()).filter(|name| !name.contains("DeadLetter")).collect()
    }
}

fn indent(line: &str) -> usize {
    line.len() - line.trim_start().len()
}

fn is_comment(line: &str) -> bool {
    line.trim_start().starts_with('#')
}

/// `Properties: {ApiId: !Ref HttpApi, Method: GET, Path: '/x/{id}', Auth: {Authorizer: NONE}}`
fn route(line: &str) -> HttpRoute {
    let of = |key: &str| {
        let value = line.split_once(key).unwrap_or_else(|| panic!("{line} has no {key}")).1;
        value.split(", ").next().unwrap().trim()
    };
    // A brace that closes the properties stands behind an unquoted path only.
    let path = match of("Path: ") {
        quoted if quoted.starts_with('\'') => quoted.split('\'').nth(1).unwrap(),
        plain => plain.trim_end_matches('}'),
    };
    HttpRoute { name: format!("{} {path}", of("Method: ")), open: line.contains("Auth: {Authorizer: NONE}") }
}

//! SAM's doors, and the template with which it serves.

use std::{collections::BTreeMap, env, fs, path::Path};

use serde_json::{Value, json};
use tests::{api::Api, stack::Stack};

/// What `cargo xtask` says of SAM.
pub(crate) fn variable(name: &str) -> String {
    env::var(name).unwrap_or_else(|_| panic!("{name} is not set: run cargo xtask test sam-local"))
}

pub(crate) fn read_json(path: impl AsRef<Path>) -> Value {
    let path = path.as_ref();
    let text = fs::read_to_string(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    serde_json::from_str(&text).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// The HTTP API as `start-api` serves it.
pub(crate) fn http_api() -> Api {
    let mut stack = Stack::running();
    stack.http_url = variable("SAM_API_URL");
    Api::new(&stack)
}

/// Invokes a function through `start-lambda`; it must not fail.
pub(crate) async fn invoke(logical_id: &str, event: &Value) -> Value {
    let url = format!("{}/2015-03-31/functions/{logical_id}/invocations", variable("SAM_LAMBDA_URL"));
    let answer = reqwest::Client::new().post(url).json(event).send().await.expect("start-lambda answers");
    let (status, failed) = (answer.status(), answer.headers().contains_key("x-amz-function-error"));
    let text = answer.text().await.expect("a body");
    let body: Value = serde_json::from_str(&text).unwrap_or_else(|_| json!(text));
    assert!(status.is_success() && !failed && body.get("errorType").is_none(), "{logical_id}: {status} {text}");
    body
}

/// The template that SAM serves.
pub(crate) struct Template(Value);

/// A route of the HTTP API.
pub(crate) struct Route {
    /// Such as `GET /api/qrapp/runs/{id}`.
    pub(crate) name: String,
    /// Whether the authorizer is asked.
    pub(crate) guarded: bool,
}

impl Template {
    pub(crate) fn served() -> Self {
        Self(read_json(variable("SAM_TEMPLATE")))
    }

    fn resources(&self) -> impl Iterator<Item = (&String, &Value)> {
        let resources = self.0["Resources"].as_object().expect("resources").iter();
        resources.filter(|(_, resource)| resource["Type"] == "AWS::Serverless::Function")
    }

    /// Logical ids by the names of the crates.
    pub(crate) fn functions(&self) -> BTreeMap<String, String> {
        let name = |function: &Value| function["Metadata"]["BuildProperties"]["Binary"].as_str().unwrap().to_owned();
        self.resources().map(|(id, function)| (name(function), id.clone())).collect()
    }

    pub(crate) fn routes(&self) -> Vec<Route> {
        let events = self.resources().filter_map(|(_, function)| function["Properties"]["Events"].as_object());
        let http = events.flat_map(|events| events.values()).filter(|event| event["Type"] == "HttpApi");
        http.map(|event| {
            let properties = &event["Properties"];
            let text = |key: &str| properties[key].as_str().expect("a method and a path");
            let guarded = properties["Auth"]["Authorizer"] != "NONE";
            Route { name: format!("{} {}", text("Method").to_uppercase(), text("Path")), guarded }
        })
        .collect()
    }
}

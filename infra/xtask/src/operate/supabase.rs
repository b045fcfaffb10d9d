//! A Supabase project, with its service key.

use anyhow::{Context, Result, bail};
use serde_json::{Map, Value, json};
use ureq::http::Method;

use crate::http::{Answer, Http};
use crate::operate::aws::{Aws, Deployment, secrets_of};
use crate::operate::secret::Secret;

/// The most rows of one page, as the SQL functions allow it.
const PAGE: usize = 100;

pub(crate) struct Supabase {
    http: Http,
    key: Secret,
    location_id: String,
}

impl Supabase {
    pub(crate) fn new(url: &str, key: &Secret, location_id: &str) -> Self {
        // New keys (sb_secret_...) aren't JWTs and only go into `apikey`.
        let bearer = key.expose().starts_with("eyJ").then(|| key.expose());
        Self { http: Http::new(url, bearer), key: key.clone(), location_id: location_id.to_owned() }
    }

    /// That of a deployed stack.
    pub(crate) fn of(aws: &Aws, deployment: &Deployment) -> Result<Self> {
        let name = format!("{}/supabase-service-role-key", secrets_of(&deployment.name));
        let key = aws.read_parameters(std::slice::from_ref(&name))?.remove(&name).flatten();
        let key = key.with_context(|| {
            format!("the parameter {name} is missing: run cargo xtask configure --stack {}", deployment.name)
        })?;
        let url = deployment.parameter("SupabaseUrl")?.trim_end_matches('/');
        Ok(Self::new(url, &key, deployment.parameter("LocationId")?))
    }

    pub(crate) fn get(&self, path: &str) -> Result<Answer> {
        self.http.send(Method::GET, path, &[("apikey", self.key.expose())], "")
    }

    /// Calls a SQL function; the location is added.
    pub(crate) fn call(&self, function: &str, mut request: Value) -> Result<Answer> {
        if let Some(fields) = request.as_object_mut() {
            fields.insert("location_id".to_owned(), json!(self.location_id));
        }
        let body = json!({ "request": request }).to_string();
        self.http.send(Method::POST, &format!("/rest/v1/rpc/{function}"), &[("apikey", self.key.expose())], &body)
    }

    /// All rows of a function that answers page by page. `cursor` is the field that asks for the next page, `more` sees
    /// each page and says whether to go on.
    pub(crate) fn pages(
        &self,
        function: &str,
        mut request: Map<String, Value>,
        [list, cursor]: [&str; 2],
        mut more: impl FnMut(&[Value]) -> bool,
    ) -> Result<Vec<Value>> {
        let mut rows = Vec::new();
        request.insert("limit".to_owned(), json!(PAGE));
        loop {
            let answer = self.call(function, Value::Object(request.clone()))?;
            if !answer.ok() {
                bail!(
                    "Supabase refuses {function} with status {}: see cargo xtask configure --stack <name> --check",
                    answer.status
                );
            }
            let page = answer.body.get(list).and_then(Value::as_array).cloned();
            let page = page.with_context(|| format!("Supabase answers {function} without {list}"))?;
            let go_on = more(&page);
            rows.extend(page);
            match answer.body.get("next") {
                Some(next) if go_on && !next.is_null() => drop(request.insert(cursor.to_owned(), next.clone())),
                _ => return Ok(rows),
            }
        }
    }
}

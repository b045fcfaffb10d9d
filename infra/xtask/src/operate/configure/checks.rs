//! Asks GHL and Supabase, and says for each item whether it is right.

use std::collections::BTreeSet;

use anyhow::{Context, Result};
use serde_json::Value;
use ureq::http::Method;

use super::judge::{self, Openness};
use super::values::{
    ANON_KEY, GHL_URL, JWT_SECRET, LOCATION, PUBLIC_KEYS, SERVICE_KEY, STORED, SUPABASE_URL, TOKEN, Values,
};
use crate::database::sql_files::sql_files;
use crate::http::{Answer, Http};
use crate::operate::report::{Report, Verdict};
use crate::operate::supabase::Supabase;
use crate::place::Place;

/// As `template.yaml` has it.
const GHL: &str = "https://services.leadconnectorhq.com";
const GHL_VERSION: &str = "2021-07-28";

/// Everything but AWS. Returns how far the public key reaches, if that is known and nothing is wrong with it.
pub(crate) fn run(place: &Place, values: &Values, report: &mut Report) -> Result<Option<Openness>> {
    let mut forms = true;
    for variable in [LOCATION, TOKEN, SUPABASE_URL, SERVICE_KEY] {
        if values.get(variable).is_none() {
            forms &= report.add("missing", Err(format!("{variable}: neither given nor in the parameter store")));
        }
    }
    for stored in &STORED {
        let Some(value) = values.text(stored.variable) else { continue };
        if let Err(wrong) = judge::secret(value, stored.shortest) {
            forms &= report.add("form", Err(format!("{}: {wrong}", stored.variable)));
        }
    }
    for (variable, judge) in
        [(GHL_URL, judge::address as fn(&str) -> Verdict), (SUPABASE_URL, judge::address), (LOCATION, judge::location)]
    {
        if let Some(Err(wrong)) = values.text(variable).map(judge) {
            forms &= report.add("form", Err(format!("{variable}: {wrong}")));
        }
    }
    if let Some(keys) = values.text(PUBLIC_KEYS) {
        report.add("webhooks", judge::public_keys(keys).map_err(|wrong| format!("{PUBLIC_KEYS}: {wrong}")));
    }
    if values.text(ANON_KEY).is_some_and(|key| !judge::is_public_key(key)) {
        report.add(
            "form",
            Err(format!("{ANON_KEY} isn't a public key: everybody will see it, so never give a secret one")),
        );
    }
    // What is malformed is sent nowhere.
    if !forms {
        return Ok(None);
    }
    ghl(values, report)?;
    supabase(place, values, report)
}

fn ghl(values: &Values, report: &mut Report) -> Result<()> {
    let url = values.text(GHL_URL).unwrap_or(GHL);
    let location = values.text(LOCATION).context("it was looked for")?;
    let http = Http::new(url, values.text(TOKEN));
    let read = |path: &str, what| match http.send(ureq::http::Method::GET, path, &[("version", GHL_VERSION)], "") {
        Ok(answer) => judge::ghl(&answer, what, location),
        Err(error) => Err(format!("{url} doesn't answer ({}): check the network, and {GHL_URL}", error.root_cause())),
    };
    let orders = read(&format!("/payments/orders?altId={location}&altType=location&limit=1"), ["orders", "data"]);
    if report.add("GHL", orders) {
        let products = read(&format!("/products/?locationId={location}&limit=1"), ["products", "products"]);
        report.add("GHL", products);
        let transactions = format!("/payments/transactions?altId={location}&altType=location&limit=1");
        report.add("GHL", read(&transactions, ["transactions", "data"]));
    }
    Ok(())
}

fn supabase(place: &Place, values: &Values, report: &mut Report) -> Result<Option<Openness>> {
    let mut reaches = None;
    let url = values.text(SUPABASE_URL).context("it was looked for")?.trim_end_matches('/');
    let key = values.get(SERVICE_KEY).context("it was looked for")?;
    let location = values.text(LOCATION).context("it was looked for")?;
    let project = Supabase::new(url, key, location);
    let asked = |answer: Result<Answer>, judge: &dyn Fn(&Answer) -> Verdict| match answer {
        Ok(answer) => judge(&answer),
        Err(error) => Err(format!(
            "{url} doesn't answer ({}): check {SUPABASE_URL} and the network, and that the project isn't paused",
            error.root_cause()
        )),
    };
    let form = judge::key_form(key.expose(), url, values.get(JWT_SECRET));
    if form.is_err() {
        report.add("Supabase", form);
    } else {
        let answer = project.call("list_failures", serde_json::json!({ "limit": 1 }));
        if report.add("Supabase", asked(answer, &judge::service_key)) {
            let required = required_functions(place)?;
            let described = project.get("/rest/v1/");
            let ours = described.as_ref().map(|answer| judge::ours(answer, &required)).unwrap_or_default();
            if report.add("migrations", asked(described, &|answer| judge::migrations(answer, &required))) {
                let found = public_key(url, values.text(ANON_KEY), &project, &ours);
                match &found {
                    Ok(Openness::OriginalTables(words)) => Report::warn("public key", words),
                    Ok(Openness::Closed(words)) => drop(report.add("public key", Ok(words.clone()))),
                    Err(wrong) => drop(report.add("public key", Err(wrong.clone()))),
                }
                reaches = found.ok();
            }
        }
    }
    let keys = Http::new(url, None).get("/auth/v1/.well-known/jwks.json");
    let has_secret = values.get(JWT_SECRET).is_some();
    report.add("sign-in", asked(keys, &|answer| judge::sign_in(answer, has_secret)));
    Ok(reaches)
}

/// Asks as whoever has seen a page with the public key: for a row of each table and view of ours, and each function. The database says
/// what else is granted.
fn public_key(url: &str, key: Option<&str>, project: &Supabase, ours: &[String]) -> Result<Openness, String> {
    let answer = project.call("open_to_public", serde_json::json!({}));
    let listed = answer.ok().filter(Answer::ok).and_then(|answer| answer.body.get("open")?.as_array().cloned());
    let listed = listed.ok_or("the database doesn't say what is open: try again")?;
    let mut open: BTreeSet<String> = listed.iter().filter_map(Value::as_str).map(str::to_owned).collect();
    let mut asked = 0;
    if let Some(key) = key.filter(|key| judge::is_public_key(key)) {
        let http = Http::new(url, key.starts_with("eyJ").then_some(key));
        for path in ours {
            // A function of ours refuses a request that names no location before it does anything.
            let (method, query, body) = match path.starts_with("rpc/") {
                true => (Method::POST, "", r#"{"request": {}}"#),
                false => (Method::GET, "?limit=1", ""),
            };
            let answer = http.send(method, &format!("/rest/v1/{path}{query}"), &[("apikey", key)], body);
            let answer = answer.map_err(|error| format!("{url} doesn't answer ({})", error.root_cause()))?;
            if judge::is_open(path, &answer)? {
                open.insert(path.trim_start_matches("rpc/").to_owned());
            }
            asked += 1;
        }
    }
    judge::openness(&open, asked)
}

/// What the migrations of this version make.
fn required_functions(place: &Place) -> Result<Vec<(String, String)>> {
    let mut files = Vec::new();
    for path in sql_files(&place.project("infra/supabase/migrations"))? {
        let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        let text = std::fs::read_to_string(&path).with_context(|| format!("can't read {}", path.display()))?;
        files.push((name, text));
    }
    Ok(judge::functions_of(files.iter().map(|(name, text)| (name.as_str(), text.as_str()))))
}

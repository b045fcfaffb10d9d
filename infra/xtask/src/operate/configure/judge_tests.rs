use jsonwebtoken::{EncodingKey, Header};
use serde_json::json;

use super::judge::*;
use super::values::{STORED, TICKET_SECRET, TOKEN, WEBHOOK_SECRET};
use crate::http::Answer;
use crate::operate::report::Verdict;
use crate::operate::secret::Secret;

const ORDERS: [&str; 2] = ["orders", "data"];
/// `{"role": "anon"}`.
const ANON: &str = "eyJhbGciOiJIUzI1NiJ9.eyJyb2xlIjoiYW5vbiJ9.c2ln";

fn answer(status: u16, body: serde_json::Value) -> Answer {
    Answer { status, retry_after: None, body }
}

fn wrong(verdict: Verdict) -> String {
    verdict.unwrap_err()
}

#[test]
fn what_ghl_answers_is_told_in_words_that_say_what_to_do() {
    let said = |status, message: &str| ghl(&answer(status, json!({ "message": message })), ORDERS, "loc");
    assert!(ghl(&answer(200, json!({ "data": [] })), ORDERS, "loc").unwrap().contains("loc"));
    assert!(wrong(ghl(&answer(200, json!({})), ORDERS, "loc")).contains("GHL_API_BASE_URL"));
    assert!(wrong(said(401, "Invalid token: access token is invalid")).contains("GHL_ACCESS_TOKEN is wrong"));
    assert!(wrong(said(401, "The token is not authorized for this scope.")).contains("may not read orders"));
    assert!(wrong(said(403, "The token does not have access to this location.")).contains("not for location loc"));
    assert!(wrong(said(429, "")).contains("wait"));
    assert!(wrong(said(502, "")).contains("unwell"));
    assert!(wrong(said(301, "")).contains("GHL_API_BASE_URL"));
    let listed = answer(422, json!({ "message": ["altId is wrong"] }));
    assert!(wrong(ghl(&listed, ORDERS, "loc")).contains("not for location"));
}

#[test]
fn a_key_is_known_by_its_form() {
    let url = "https://abc.supabase.co";
    assert!(key_form("sb_secret_x", url, None).is_ok());
    assert!(wrong(key_form("sb_publishable_x", url, None)).contains("public key"));
    assert!(wrong(key_form(ANON, url, None)).contains("anon key"));
    assert!(wrong(key_form("pit-invented", url, None)).contains("no key of Supabase"));
    let service = token(&json!({ "role": "service_role", "ref": "abc" }));
    assert!(key_form(&service, url, None).is_ok());
    assert!(key_form(&service, url, Some(&Secret::new("invented"))).is_ok());
    assert!(wrong(key_form(&service, url, Some(&Secret::new("another")))).contains("SUPABASE_JWT_SECRET"));
    assert!(wrong(key_form(&service, "https://xyz.supabase.co", None)).contains("another project"));
    assert!(is_public_key(ANON) && is_public_key("sb_publishable_x"));
    assert!(!is_public_key(&service) && !is_public_key("sb_secret_x") && !is_public_key("x"));
}

fn token(claims: &serde_json::Value) -> String {
    jsonwebtoken::encode(&Header::default(), claims, &EncodingKey::from_secret(b"invented")).unwrap()
}

#[test]
fn what_supabase_answers_tells_the_key_from_the_migrations() {
    assert!(service_key(&answer(200, json!({}))).is_ok());
    assert!(service_key(&answer(404, json!({ "code": "PGRST202" }))).is_ok());
    assert!(wrong(service_key(&answer(401, json!({ "code": "42501" })))).contains("isn't the service role's"));
    assert!(wrong(service_key(&answer(401, json!({ "code": "PGRST301" })))).contains("isn't accepted"));
    assert!(wrong(service_key(&answer(404, json!(null)))).contains("SUPABASE_URL"));
    assert!(wrong(service_key(&answer(540, json!(null)))).contains("paused"));
}

#[test]
fn missing_migrations_are_named() {
    let one = "create or replace function public.a(request jsonb) returns jsonb\nas $$ $$;";
    let two = "create or replace function sync_internal.x(request jsonb)\n\
               CREATE OR REPLACE FUNCTION public.b(request jsonb)\n RETURNS jsonb\n\
               create or replace function public.c(request jsonb) returns jsonb";
    let three = format!("{one}\ndrop function if exists public.c(jsonb);");
    let required = functions_of([("1.sql", one), ("2.sql", two), ("3.sql", &three)]);
    assert_eq!(required, [("a".to_owned(), "3.sql".to_owned()), ("b".to_owned(), "2.sql".to_owned())]);
    let described = |paths| answer(200, json!({ "paths": paths }));
    assert!(migrations(&described(json!({ "/rpc/a": {}, "/rpc/b": {} })), &required).is_ok());
    let missing = wrong(migrations(&described(json!({ "/rpc/a": {} })), &required));
    assert!(missing.contains("b (2.sql)") && missing.contains("cargo xtask migrate"), "{missing}");
    assert!(migrations(&answer(403, json!({})), &required).is_err());
}

#[test]
fn other_peoples_tables_and_functions_are_not_asked_for() {
    let paths = json!({ "/": {}, "/ghl_qr_orders": {}, "/gate_scans": {}, "/other_app": {}, "/rpc/theirs": {} });
    let functions = [("get_run".to_owned(), "1.sql".to_owned())];
    let found = ours(&answer(200, json!({ "paths": paths })), &functions);
    assert_eq!(found, ["gate_scans", "ghl_qr_orders", "rpc/get_run"]);
}

#[test]
fn what_the_public_key_is_answered_tells_whether_it_may() {
    let denied = |message: &str| answer(401, json!({ "code": "42501", "message": message }));
    let table = "ghl_qr_orders";
    assert_eq!(is_open(table, &denied("permission denied for table ghl_qr_orders")), Ok(false));
    assert_eq!(is_open(table, &answer(200, json!([]))), Ok(true));
    let function = "rpc/get_run";
    assert_eq!(is_open(function, &denied("permission denied for function get_run")), Ok(false));
    assert_eq!(is_open(function, &denied("permission denied for schema sync_internal")), Ok(true));
    assert_eq!(is_open(function, &answer(400, json!({ "code": "22023" }))), Ok(true));
    assert_eq!(is_open(function, &answer(404, json!({ "code": "PGRST202" }))), Ok(false));
    assert!(is_open(table, &answer(401, json!({ "code": "PGRST301" }))).unwrap_err().contains("isn't accepted"));
    assert!(is_open(table, &answer(503, json!(null))).is_err());
}

#[test]
fn the_original_tables_may_be_open_until_the_last_step_and_nothing_else() {
    let told = |names: &[&str], asked| openness(&names.iter().map(|name| (*name).to_owned()).collect(), asked);
    assert!(matches!(told(&[], 80), Ok(Openness::Closed(words)) if words.contains("80 tables")));
    let words = match told(&["ghl_qr_tickets", "ghl_qr_orders"], 0) {
        Ok(Openness::OriginalTables(words)) => words,
        other => wrong(other.map(|openness| format!("{openness:?}"))),
    };
    assert!(words.contains("ghl_qr_orders and ghl_qr_tickets") && words.contains("migrate --last-step"), "{words}");
    assert!(words.contains("give SUPABASE_ANON_KEY"), "{words}");
    let wrong = told(&["ghl_qr_orders", "sync_runs"], 80).unwrap_err();
    assert!(wrong.contains("ghl_qr_orders, sync_runs"), "{wrong}");
}

#[test]
fn sign_in_needs_public_keys_or_the_legacy_secret() {
    let keys = |keys| answer(200, json!({ "keys": keys }));
    assert!(sign_in(&keys(json!([{}])), false).is_ok());
    assert!(sign_in(&keys(json!([])), true).is_ok());
    assert!(wrong(sign_in(&keys(json!([])), false)).contains("SUPABASE_JWT_SECRET"));
    assert!(wrong(sign_in(&answer(404, json!(null)), true)).contains("SUPABASE_URL"));
}

#[test]
fn forms_are_checked() {
    let key = "MCowBQYDK2VwAyEAi2HR1srL4o18O8BRa7gVJY7G7bupbN3H9AwJrHCDiOg=";
    assert!(public_keys(&format!("{key}, {key}")).is_ok());
    assert!(wrong(public_keys(&format!("{key},AAAA"))).contains("key 2"));
    assert!(address("https://abc.supabase.co").is_ok() && address("http://127.0.0.1:8403").is_ok());
    for bad in ["http://abc.supabase.co", "abc.supabase.co", "https://abc.supabase.co/rest/v1", "https://", ""] {
        assert!(address(bad).is_err(), "{bad}");
    }
    assert!(location("a-b_9").is_ok() && location("a b").is_err() && location("").is_err());
    let judged = |variable, value| {
        let stored = STORED.iter().find(|stored| stored.variable == variable).unwrap();
        secret(value, stored.shortest)
    };
    assert!(judged(TOKEN, "short").is_ok());
    assert!(judged(TICKET_SECRET, "short").is_err() && judged(WEBHOOK_SECRET, "short").is_err());
    assert!(judged(TOKEN, "line\nbreak").is_err());
}

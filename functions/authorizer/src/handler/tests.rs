use aws_lc_rs::{
    encoding::AsDer,
    rsa::{KeyPair as RsaKeyPair, KeySize},
    signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair},
};
use base64::{Engine, engine::general_purpose::STANDARD};
use caller::Role;
use jsonwebtoken::{Algorithm, EncodingKey, Header, get_current_timestamp, jwk::Jwk};
use settings::SecretString;
use wiremock::{Mock, MockServer, ResponseTemplate, matchers::path};

use super::*;

mod keys;
mod sessions;

const JWKS: &str = "/auth/v1/.well-known/jwks.json";
const SECRET: &str = "an invented secret of 32 bytes...";
const ARN: &str = "arn:aws:execute-api:us-east-1:000000000000:api/live/$connect";

/// A Supabase whose JWKS holds these keys.
async fn supabase(keys: &[Value]) -> MockServer {
    let server = MockServer::start().await;
    publish(&server, keys).await;
    server
}

/// From now on the JWKS holds these keys, and the count of its readers starts at 0.
async fn publish(server: &MockServer, keys: &[Value]) {
    answer_with(server, ResponseTemplate::new(200).set_body_json(json!({"keys": keys}))).await;
}

/// From now on this is what is answered for the JWKS, and the count of its readers starts at 0.
async fn answer_with(server: &MockServer, answer: ResponseTemplate) {
    server.reset().await;
    Mock::given(path(JWKS)).respond_with(answer).mount(server).await;
}

/// How often the JWKS was asked for since its answer was set.
async fn reads(server: &MockServer) -> usize {
    server.received_requests().await.unwrap().len()
}

fn authorizer(server: &MockServer, more: &[(&str, &str)]) -> Authorizer {
    let uri = server.uri();
    let mut variables = vec![("SUPABASE_URL", uri.as_str()), ("WS_TICKET_SECRET", SECRET), ("GHL_LOCATION_ID", "loc")];
    variables.extend(more);
    Authorizer::from_env(&Env::of(variables), HttpClient::new().unwrap()).unwrap()
}

fn es256() -> EncodingKey {
    let pair = EcdsaKeyPair::generate(&ECDSA_P256_SHA256_FIXED_SIGNING).unwrap();
    EncodingKey::from_ec_der(pair.to_pkcs8v1().unwrap().as_ref())
}

fn rs256() -> EncodingKey {
    let der = AsDer::<aws_lc_rs::encoding::Pkcs8V1Der<'_>>::as_der(&RsaKeyPair::generate(KeySize::Rsa2048).unwrap());
    let pem =
        format!("-----BEGIN PRIVATE KEY-----\n{}\n-----END PRIVATE KEY-----", STANDARD.encode(der.unwrap().as_ref()));
    EncodingKey::from_rsa_pem(pem.as_bytes()).unwrap()
}

fn public(key: &EncodingKey, algorithm: Algorithm, kid: &str) -> Value {
    let mut jwk = serde_json::to_value(Jwk::from_encoding_key(key, algorithm).unwrap()).unwrap();
    jwk["kid"] = kid.into();
    jwk
}

fn now() -> i64 {
    get_current_timestamp().try_into().unwrap()
}

/// The claims of a good token of an admin.
fn claims(server: &MockServer) -> Value {
    json!({
        "iss": format!("{}/auth/v1", server.uri()), "aud": "authenticated", "sub": "user-1", "exp": now() + 600,
        "iat": now(), "app_metadata": {"role": "admin"}, "user_metadata": {"role": "member"},
    })
}

fn sign(claims: &Value, key: &EncodingKey, algorithm: Algorithm, kid: Option<&str>) -> String {
    let header = Header { kid: kid.map(str::to_owned), ..Header::new(algorithm) };
    jsonwebtoken::encode(&header, claims, key).unwrap()
}

fn http_event(authorization: &str) -> Value {
    json!({
        "version": "2.0", "type": "REQUEST", "routeArn": "arn:...", "identitySource": [authorization],
        "headers": {"authorization": authorization}, "rawPath": "/api/qrapp/sync-status",
    })
}

fn socket_event(ticket: &str, headers: &Value) -> Value {
    json!({
        "type": "REQUEST", "methodArn": ARN, "headers": headers, "queryStringParameters": {"ticket": ticket},
        "requestContext": {"routeKey": "$connect", "eventType": "CONNECT"},
    })
}

async fn admits(authorizer: &Authorizer, token: &str) -> bool {
    let answer = authorizer.answer(http_event(&format!("Bearer {token}"))).await.unwrap();
    answer["isAuthorized"].as_bool().unwrap()
}

#[tokio::test]
async fn public_keys_of_both_kinds() {
    let (es, rs) = (es256(), rs256());
    let odd = json!({"kty": "XYZ", "kid": "odd"});
    let keys = [odd, public(&es, Algorithm::ES256, "es"), public(&rs, Algorithm::RS256, "rs")];
    let server = supabase(&keys).await;
    let authorizer = authorizer(&server, &[]);
    let claims = claims(&server);
    let answer =
        authorizer.answer(http_event(&format!("bearer {}", sign(&claims, &es, Algorithm::ES256, Some("es"))))).await;
    let context = json!({"userId": "user-1", "role": "admin", "expiresAt": claims["exp"]});
    assert_eq!(answer.unwrap(), json!({"isAuthorized": true, "context": context}));
    assert!(admits(&authorizer, &sign(&claims, &rs, Algorithm::RS256, Some("rs"))).await);
    assert!(!admits(&authorizer, &sign(&claims, &rs, Algorithm::RS256, Some("es"))).await, "another key's id");
    assert!(!admits(&authorizer, &sign(&claims, &rs, Algorithm::RS384, Some("rs"))).await, "another algorithm");
    assert!(!admits(&authorizer, &sign(&claims, &es256(), Algorithm::ES256, Some("es"))).await, "another key");
    assert!(!admits(&authorizer, &sign(&claims, &es, Algorithm::ES256, None)).await, "no key id");
    for _ in 0..3 {
        assert!(!admits(&authorizer, &sign(&claims, &es, Algorithm::ES256, Some("invented"))).await);
    }
    assert_eq!(reads(&server).await, 1, "invented key ids must not flood Supabase");
}

#[tokio::test]
async fn a_public_key_is_no_shared_secret() {
    let es = es256();
    let jwk = public(&es, Algorithm::ES256, "es");
    let server = supabase(&[jwk.clone(), json!({"kty": "oct", "kid": "oct", "k": STANDARD.encode(SECRET)})]).await;
    let claims = claims(&server);
    let by_public_key = EncodingKey::from_secret(jwk["x"].as_str().unwrap().as_bytes());
    let by_listed_key = EncodingKey::from_secret(SECRET.as_bytes());
    for authorizer in
        [authorizer(&server, &[]), authorizer(&server, &[("SUPABASE_JWT_SECRET", "quite another secret")])]
    {
        assert!(!admits(&authorizer, &sign(&claims, &by_public_key, Algorithm::HS256, Some("es"))).await);
        assert!(!admits(&authorizer, &sign(&claims, &by_listed_key, Algorithm::HS256, Some("oct"))).await);
    }
}

#[tokio::test]
async fn hs256_only_where_configured() {
    let server = supabase(&[]).await;
    let token = sign(&claims(&server), &EncodingKey::from_secret(b"old project"), Algorithm::HS256, None);
    assert!(!admits(&authorizer(&server, &[]), &token).await);
    assert!(!admits(&authorizer(&server, &[("SUPABASE_JWT_SECRET", "")]), &token).await);
    assert!(!admits(&authorizer(&server, &[("SUPABASE_JWT_SECRET", "other")]), &token).await);
    assert!(admits(&authorizer(&server, &[("SUPABASE_JWT_SECRET", "old project")]), &token).await);
}

#[tokio::test]
async fn every_claim_is_checked() {
    let server = supabase(&[]).await;
    let authorizer = authorizer(&server, &[("SUPABASE_JWT_SECRET", "s")]);
    let good = claims(&server);
    let with = |field: &str, value: Value| {
        let mut claims = good.clone();
        claims[field] = value;
        sign(&claims, &EncodingKey::from_secret(b"s"), Algorithm::HS256, None)
    };
    let cases = [
        ("exp", json!(now() + 5), true),
        ("exp", json!(now() - 30), true),
        ("exp", json!(now() - 90), false),
        ("exp", json!("soon"), false),
        ("nbf", json!(now() + 30), true),
        ("nbf", json!(now() + 90), false),
        ("iss", json!("https://elsewhere.example/auth/v1"), false),
        ("aud", json!("anon"), false),
        ("aud", json!(["authenticated", "other"]), true),
        ("sub", json!(""), false),
        ("sub", json!(null), false),
        ("app_metadata", json!({"role": "member"}), true),
        ("app_metadata", json!({"role": "owner"}), false),
        ("app_metadata", json!({}), false),
        ("app_metadata", json!(null), false),
    ];
    for (field, value, expected) in cases {
        assert_eq!(admits(&authorizer, &with(field, value.clone())).await, expected, "{field} {value}");
    }
}

#[tokio::test]
async fn anything_but_a_bearer_token_is_denied() {
    let server = supabase(&[]).await;
    let authorizer = authorizer(&server, &[]);
    let none = base64::engine::general_purpose::URL_SAFE_NO_PAD.encode(r#"{"alg":"none","typ":"JWT"}"#);
    let unsigned = format!("Bearer {none}.{none}.");
    for header in ["", "Bearer", "Bearer ", "Basic dXNlcjpwYXNz", "Bearer a.b.c", "Bearer pit-token", &unsigned] {
        assert_eq!(authorizer.answer(http_event(header)).await.unwrap(), json!({"isAuthorized": false}), "{header}");
    }
    assert_eq!(authorizer.answer(json!({})).await.unwrap(), json!({"isAuthorized": false}));
}

#[tokio::test]
async fn an_outage_of_supabase_is_no_refusal() {
    let server = MockServer::start().await;
    answer_with(&server, ResponseTemplate::new(503)).await;
    let authorizer = authorizer(&server, &[]);
    let token = sign(&claims(&server), &es256(), Algorithm::ES256, Some("es"));
    for _ in 0..2 {
        assert!(authorizer.answer(http_event(&format!("Bearer {token}"))).await.is_err());
    }
    assert_eq!(reads(&server).await, 1);
}

#[tokio::test]
async fn a_ticket_opens_the_socket() {
    let server = supabase(&[]).await;
    let authorizer = authorizer(&server, &[]);
    let caller = Caller { user_id: "user-1".to_owned(), role: Role::Member, expires_at: now() + 600 };
    let ticket = ws_ticket::make(&SecretString::from(SECRET), &caller, "loc").unwrap().ticket;
    let answer = authorizer.answer(socket_event(&ticket, &json!({}))).await.unwrap();
    assert_eq!(answer["principalId"], "user-1");
    let mut context = caller.to_context();
    context["ticketId"] = ws_ticket::verify(&SecretString::from(SECRET), &ticket, "loc").unwrap().ticket_id.into();
    assert_eq!(answer["context"], context);
    assert_eq!(answer["policyDocument"]["Statement"][0]["Effect"], "Allow");
    assert_eq!(answer["policyDocument"]["Statement"][0]["Resource"], ARN);
    for ticket in ["", "rubbish", &ws_ticket::make(&SecretString::from(SECRET), &caller, "other").unwrap().ticket] {
        let answer = authorizer.answer(socket_event(ticket, &json!({}))).await.unwrap();
        assert_eq!(answer["policyDocument"]["Statement"][0]["Effect"], "Deny");
        assert_eq!(answer.get("context"), None);
    }
    assert!(!admits(&authorizer, &ticket).await, "a ticket is no token for the HTTP API");
}

#[tokio::test]
async fn the_origin_is_checked_where_configured() {
    let server = supabase(&[]).await;
    let authorizer = authorizer(&server, &[("ALLOWED_ORIGINS", "https://admin.example.org/, http://127.0.0.1:4566")]);
    let caller = Caller { user_id: "user-1".to_owned(), role: Role::Admin, expires_at: now() + 600 };
    let ticket = ws_ticket::make(&SecretString::from(SECRET), &caller, "loc").unwrap().ticket;
    for (headers, effect) in [
        (json!({"Origin": "https://admin.example.org"}), "Allow"),
        (json!({"origin": "http://127.0.0.1:4566"}), "Allow"),
        (json!({"Origin": "https://evil.example.org"}), "Deny"),
        (json!({"Origin": "https://admin.example.org.evil.example"}), "Deny"),
        (json!({}), "Deny"),
    ] {
        let answer = authorizer.answer(socket_event(&ticket, &headers)).await.unwrap();
        assert_eq!(answer["policyDocument"]["Statement"][0]["Effect"], effect, "{headers}");
    }
}

#[test]
fn configuration_is_refused_by_name() {
    let refused = |variables: &[(&str, &str)]| match Authorizer::from_env(
        &Env::of(variables.iter().copied()),
        HttpClient::new().unwrap(),
    ) {
        Ok(_) => panic!("accepted"),
        Err(error) => error.to_string(),
    };
    assert!(refused(&[]).starts_with("SUPABASE_URL is not set"));
    assert!(refused(&[("SUPABASE_URL", "x")]).starts_with("SUPABASE_URL is malformed"));
    let url = ("SUPABASE_URL", "https://x.example");
    assert!(refused(&[url]).starts_with("WS_TICKET_SECRET is not set"));
    assert!(refused(&[url, ("ROLE_CLAIM", "user_metadata.role")]).starts_with("ROLE_CLAIM is malformed"));
    assert!(refused(&[url, ("WS_TICKET_SECRET", SECRET)]).starts_with("GHL_LOCATION_ID is not set"));
}

/// Whatever is sent for a token: only the one that was signed is believed.
#[test]
fn fuzz_tokens() {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let server = runtime.block_on(supabase(&[]));
    let authorizer = authorizer(&server, &[("SUPABASE_JWT_SECRET", SECRET)]);
    let good = sign(&claims(&server), &EncodingKey::from_secret(SECRET.as_bytes()), Algorithm::HS256, None);
    let es256 = sign(&claims(&server), &es256(), Algorithm::ES256, Some("invented"));
    let none = base64::engine::general_purpose::URL_SAFE_NO_PAD.encode(r#"{"alg":"none","typ":"JWT"}"#);
    let payload = good.split('.').nth(1).unwrap();
    let unsigned = format!("{none}.{payload}.");
    fuzz::fuzz(&[good.as_bytes(), es256.as_bytes(), unsigned.as_bytes()], |input| {
        let token = String::from_utf8_lossy(input);
        let admitted = runtime.block_on(admits(&authorizer, &token));
        assert!(!admitted || token.trim() == good, "believed");
    });
}

//! Path, query, body, id and caller of a request.

use caller::Caller;
use lambda_http::{Request, RequestExt, request::RequestContext};
use serde::de::DeserializeOwned;

use crate::ApiError;

/// Clocks may differ by this many seconds; the authorizer allows a token the same.
const LEEWAY_SECONDS: i64 = 60;

/// The path without the stage's prefix, not decoded: `/api/ghl/orders/sync`.
///
/// The path in `request.uri()` can't be used: lambda_http puts the stage before it unless the stage is `$default`.
pub fn path(request: &Request) -> &str {
    let path = request.raw_http_path();
    let stage = match request.request_context_ref() {
        Some(RequestContext::ApiGatewayV2(context)) => context.stage.as_deref().unwrap_or("$default"),
        _ => "$default",
    };
    match path.strip_prefix('/').and_then(|path| path.strip_prefix(stage)) {
        Some("") => "/",
        Some(rest) if stage != "$default" && rest.starts_with('/') => rest,
        _ => path,
    }
}

/// The parameter `{name}` of the route, decoded by the gateway.
///
/// # Errors
/// 400 `missing_parameter` if the route has none.
pub fn path_parameter(request: &Request, name: &str) -> Result<String, ApiError> {
    let value = request.path_parameters_ref().and_then(|parameters| parameters.first(name));
    value
        .map(str::to_owned)
        .ok_or_else(|| ApiError::bad_request("missing_parameter", format!("The address lacks the part {name}")))
}

/// The first value of the query parameter `name`, decoded; empty counts as absent.
pub fn query<'a>(request: &'a Request, name: &str) -> Option<&'a str> {
    request.query_string_parameters_ref()?.first(name).filter(|value| !value.is_empty())
}

/// The whole number in the query parameter `name`, cut to `bounds`, or `default` if it is absent.
///
/// # Errors
/// 400 `invalid_parameter` if it is no whole number.
pub fn query_number(
    request: &Request,
    name: &str,
    default: u32,
    bounds: std::ops::RangeInclusive<u32>,
) -> Result<u32, ApiError> {
    let Some(value) = query(request, name) else { return Ok(default) };
    let number: u32 = value
        .parse()
        .map_err(|_| ApiError::bad_request("invalid_parameter", format!("`{name}` must be a whole number")))?;
    Ok(number.clamp(*bounds.start(), *bounds.end()))
}

/// The body as JSON, or `None` if it is empty.
///
/// # Errors
/// 400 `invalid_body` if it isn't what it should be; the text doesn't quote it.
pub fn json_body<T: DeserializeOwned>(request: &Request) -> Result<Option<T>, ApiError> {
    let body: &[u8] = request.body();
    if body.trim_ascii().is_empty() {
        return Ok(None);
    }
    serde_json::from_slice(body).map(Some).map_err(|error| {
        let what = if error.is_data() { "does not have the expected fields" } else { "is not JSON" };
        let message = format!("The body {what} (line {}, column {})", error.line(), error.column());
        ApiError::bad_request("invalid_body", message)
    })
}

/// The gateway's id of the request, by which the logs find it; empty if there is none.
pub fn id(request: &Request) -> &str {
    match request.request_context_ref() {
        Some(RequestContext::ApiGatewayV2(context)) => context.request_id.as_deref().unwrap_or_default(),
        _ => "",
    }
}

/// The caller, as the authorizer has authenticated it.
///
/// # Errors
/// 403 `not_authorised` if the request came without the authorizer's context, or with one that is incomplete or has expired.
pub fn caller(request: &Request) -> Result<Caller, ApiError> {
    let Some(RequestContext::ApiGatewayV2(context)) = request.request_context_ref() else {
        return Err(ApiError::not_authorised());
    };
    let fields = context.authorizer.as_ref().map(|authorizer| &authorizer.fields);
    let caller = Caller::from_fields(|name| fields?.get(name));
    // The gateway may use an authorizer's answer for a while after it was made.
    caller.filter(|caller| !caller.session_ended_before(LEEWAY_SECONDS)).ok_or_else(ApiError::not_authorised)
}

#[cfg(test)]
mod tests {
    use std::time::{SystemTime, UNIX_EPOCH};

    use caller::Role;
    use serde_json::{Value, json};

    use super::*;

    const FAR: i64 = 4_102_444_800;

    /// A request as the gateway hands it over, in the context an authorizer has made.
    fn in_context(authorizer: Value) -> Request {
        event("$default", "/x", "", None, authorizer)
    }

    fn event(stage: &str, path: &str, query: &str, body: Option<&str>, authorizer: Value) -> Request {
        let event = json!({
            "version": "2.0",
            "routeKey": "ANY /x",
            "rawPath": path,
            "rawQueryString": query,
            "headers": {},
            "pathParameters": {"id": "ord 1"},
            "requestContext": {
                "stage": stage,
                "requestId": "req-1",
                "authorizer": {"lambda": authorizer},
                "http": {"method": "POST", "path": path},
            },
            "body": body,
            "isBase64Encoded": false,
        });
        lambda_http::request::from_str(&event.to_string()).unwrap()
    }

    #[test]
    fn the_stage_is_no_part_of_the_path() {
        let path_of = |stage, path_there| path(&event(stage, path_there, "", None, json!({}))).to_owned();
        assert_eq!(path_of("$default", "/api/x"), "/api/x");
        assert_eq!(path_of("$default", "/"), "/");
        assert_eq!(path_of("live", "/live/api/x"), "/api/x");
        assert_eq!(path_of("live", "/live"), "/");
        assert_eq!(path_of("live", "/lively/x"), "/lively/x");
        assert_eq!(path_of("live", "/api/x"), "/api/x");
    }

    #[test]
    fn parameters_and_id() {
        let request = event("$default", "/x", "mode=full&empty=&limit=900&odd=a%2Fb", None, json!({}));
        assert_eq!(id(&request), "req-1");
        assert_eq!(query(&request, "mode"), Some("full"));
        assert_eq!(query(&request, "odd"), Some("a/b"));
        assert_eq!((query(&request, "empty"), query(&request, "none")), (None, None));
        assert_eq!(query_number(&request, "limit", 50, 1..=200).unwrap(), 200);
        assert_eq!(query_number(&request, "none", 50, 1..=200).unwrap(), 50);
        assert_eq!(query_number(&request, "mode", 50, 1..=200).unwrap_err().code(), "invalid_parameter");
        assert_eq!(path_parameter(&request, "id").unwrap(), "ord 1");
        assert_eq!(path_parameter(&request, "other").unwrap_err().code(), "missing_parameter");
    }

    #[test]
    fn bodies() {
        let body = |body| json_body::<Vec<String>>(&event("$default", "/x", "", body, json!({})));
        assert_eq!(body(None).unwrap(), None);
        assert_eq!(body(Some(" ")).unwrap(), None);
        assert_eq!(body(Some(r#"["a"]"#)).unwrap(), Some(vec!["a".to_owned()]));
        assert_eq!(body(Some("{")).unwrap_err().code(), "invalid_body");
        assert!(!body(Some(r#"{"name": "Jane Roe"}"#)).unwrap_err().to_string().contains("Jane"));
    }

    #[test]
    fn a_whole_context_is_a_caller() {
        let caller_found = caller(&in_context(json!({"userId": "u1", "role": "member", "expiresAt": FAR}))).unwrap();
        assert_eq!(caller_found, Caller { user_id: "u1".to_owned(), role: Role::Member, expires_at: FAR });
    }

    #[test]
    fn anything_less_is_nobody() {
        for context in [
            json!(null),
            json!({}),
            json!({"userId": "u1", "role": "owner", "expiresAt": FAR}),
            json!({"userId": "", "role": "admin", "expiresAt": FAR}),
            json!({"userId": "u1", "role": "admin"}),
            json!({"userId": "u1", "role": "admin", "expiresAt": 1}),
            json!({"userId": 5, "role": "admin", "expiresAt": FAR}),
        ] {
            let error = caller(&in_context(context.clone())).unwrap_err();
            assert_eq!((error.status().as_u16(), error.code()), (403, "not_authorised"), "{context}");
        }
        assert!(caller(&Request::default()).is_err(), "no context at all");
    }

    #[test]
    fn an_ended_session_has_a_leeway() {
        let now = i64::try_from(SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs()).unwrap();
        for (expires_at, may_ask) in [(now + 60, true), (now, true), (now - 30, true), (now - 61, false)] {
            let request = in_context(json!({"userId": "u1", "role": "admin", "expiresAt": expires_at}));
            assert_eq!(caller(&request).is_ok(), may_ask, "{}", expires_at - now);
        }
    }
}

//! Path, query, body and id of a request.

use lambda_http::{Request, RequestExt, request::RequestContext};
use serde::de::DeserializeOwned;

use crate::ApiError;

/// The path without the stage's prefix, not decoded: `/api/ghl/orders/sync`.
///
/// The path in `request.uri()` won't do: lambda_http puts the stage before it unless the stage is `$default`.
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
        .ok_or_else(|| ApiError::bad_request("missing_parameter", format!("The address lacks its part {{{name}}}")))
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
        .map_err(|_| ApiError::bad_request("invalid_parameter", format!("`{name}` should be a whole number")))?;
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
        let what = if error.is_data() { "has not the expected fields" } else { "is not JSON" };
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

#[cfg(test)]
pub(crate) mod tests {
    use serde_json::{Value, json};

    use super::*;

    /// A request as the gateway hands it over, in the context an authorizer has made.
    pub(crate) fn request_with_context(path: &str, authorizer: Value) -> Request {
        event("$default", path, "", None, authorizer)
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
}

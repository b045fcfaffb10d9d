use http::{
    HeaderValue, StatusCode,
    header::{
        CACHE_CONTROL, CONTENT_SECURITY_POLICY, CONTENT_TYPE, HeaderName, REFERRER_POLICY, STRICT_TRANSPORT_SECURITY,
        X_CONTENT_TYPE_OPTIONS,
    },
};
use lambda_http::Body;

/// An answer of the HTTP API.
pub type Response = http::Response<Body>;

/// The headers of every answer, unless the answer sets them itself (as the dashboard's page does).
pub(crate) const SECURITY_HEADERS: [(HeaderName, HeaderValue); 5] = [
    (CACHE_CONTROL, HeaderValue::from_static("no-store")),
    (CONTENT_SECURITY_POLICY, HeaderValue::from_static("default-src 'none'; frame-ancestors 'none'")),
    (REFERRER_POLICY, HeaderValue::from_static("no-referrer")),
    (STRICT_TRANSPORT_SECURITY, HeaderValue::from_static("max-age=63072000; includeSubDomains")),
    (X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff")),
];

/// Adds the security headers that `response` doesn't set itself: not sniffed, not cached, not framed, HTTPS only.
pub(crate) fn with_security_headers(mut response: Response) -> Response {
    for (name, value) in SECURITY_HEADERS {
        response.headers_mut().entry(name).or_insert(value);
    }
    response
}

/// An answer whose body is this JSON text.
pub(crate) fn of_json(status: StatusCode, text: String) -> Response {
    let mut response = Response::new(Body::Text(text));
    *response.status_mut() = status;
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    with_security_headers(response)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn security_headers_yield_to_the_answers_own() {
        let mut page = Response::new(Body::Empty);
        page.headers_mut().insert(CACHE_CONTROL, HeaderValue::from_static("max-age=60"));
        let page = with_security_headers(page);
        assert_eq!(page.headers()[CACHE_CONTROL], "max-age=60");
        assert_eq!(page.headers()[X_CONTENT_TYPE_OPTIONS], "nosniff");
    }
}

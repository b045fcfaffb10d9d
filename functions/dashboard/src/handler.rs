//! Which answer a request gets.

use http_api::{ApiError, Method, Request, Response, StatusCode, request};
use lambda_http::{
    Body,
    http::{
        HeaderValue,
        header::{ALLOW, CACHE_CONTROL, CONTENT_SECURITY_POLICY, CONTENT_TYPE, ETAG, IF_NONE_MATCH},
    },
};

use crate::{
    assets::{ASSETS, Asset, PAGE},
    config::{Config, ConfigError},
    policy::content_security_policy,
};

const HTML: &str = "text/html; charset=utf-8";
const JSON: &str = "application/json";
const NEVER_CACHED: &str = "no-store";
/// Short, because the files of one version must be used together: a browser mixes versions for a minute at most.
const CACHED_BRIEFLY: &str = "public, max-age=60, must-revalidate";

/// The function, configured.
#[derive(Debug)]
pub(crate) struct Dashboard {
    config_json: String,
    policy: HeaderValue,
}

impl Dashboard {
    /// # Errors
    /// Names the variable of `config` that holds no usable address.
    pub(crate) fn new(config: &Config) -> Result<Self, ConfigError> {
        Ok(Self { config_json: serde_json::json!(config).to_string(), policy: content_security_policy(config)? })
    }

    /// Answers one request.
    ///
    /// # Errors
    /// 404 `no_route` for a path that isn't served.
    pub(crate) fn answer(&self, request: &Request) -> Result<Response, ApiError> {
        if request.method() != Method::GET {
            return Ok(only_get(request));
        }
        let mut response = match request::path(request) {
            "/" => answer(HTML, NEVER_CACHED, PAGE),
            "/assets/config.json" => answer(JSON, NEVER_CACHED, self.config_json.clone()),
            path => {
                let name = path.strip_prefix("/assets/").ok_or_else(ApiError::no_route)?;
                let asset = ASSETS.iter().find(|asset| asset.name == name).ok_or_else(ApiError::no_route)?;
                serve(asset, request)
            }
        };
        response.headers_mut().insert(CONTENT_SECURITY_POLICY, self.policy.clone());
        Ok(response)
    }
}

fn serve(asset: &Asset, request: &Request) -> Response {
    let etag = asset.etag();
    let known = request
        .headers()
        .get_all(IF_NONE_MATCH)
        .iter()
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(','))
        // A proxy that compresses the answer makes our tag a weak one, which counts as equal here.
        .any(|tag| tag.trim().trim_start_matches("W/") == etag);
    let mut response = answer(asset.content_type, CACHED_BRIEFLY, asset.content);
    if known {
        *response.status_mut() = StatusCode::NOT_MODIFIED;
        *response.body_mut() = Body::Empty;
    }
    if let Ok(value) = HeaderValue::try_from(etag) {
        response.headers_mut().insert(ETAG, value);
    }
    response
}

fn only_get(request: &Request) -> Response {
    let error = ApiError::new(StatusCode::METHOD_NOT_ALLOWED, "method_not_allowed", "Only GET is served here");
    let mut response = error.into_response(request::id(request));
    response.headers_mut().insert(ALLOW, HeaderValue::from_static("GET"));
    response
}

fn answer(content_type: &'static str, cache: &'static str, body: impl Into<Body>) -> Response {
    let mut response = Response::new(body.into());
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(content_type));
    response.headers_mut().insert(CACHE_CONTROL, HeaderValue::from_static(cache));
    response
}

#[cfg(test)]
mod tests {
    use lambda_http::{
        RequestExt as _,
        http::{self, header},
    };
    use serde_json::Value;

    use super::*;
    use crate::anon_key::AnonKey;

    fn dashboard() -> Dashboard {
        Dashboard::new(&Config {
            websocket_url: "wss://live.example.com/live".to_owned(),
            supabase_url: Some("https://project.example.com".to_owned()),
            supabase_anon_key: Some(AnonKey::parse("sb_publishable_example").unwrap()),
            location_id: "location1".to_owned(),
        })
        .unwrap()
    }

    fn request(method: &str, path: &str) -> Request {
        http::Request::builder().method(method).body(Body::Empty).unwrap().with_raw_http_path(path)
    }

    /// What the gateway gets to see.
    async fn respond(request: Request) -> Response {
        http_api::respond(async { dashboard().answer(&request) }, "request-1").await
    }

    async fn get(path: &str) -> Response {
        respond(request("GET", path)).await
    }

    fn json(response: &Response) -> Value {
        serde_json::from_slice(response.body()).unwrap()
    }

    #[tokio::test]
    async fn serves_the_page_uncached() {
        let response = get("/").await;
        assert_eq!(response.status(), StatusCode::OK);
        assert_eq!(response.headers()[CONTENT_TYPE], HTML);
        assert_eq!(response.headers()[CACHE_CONTROL], "no-store");
        assert_eq!(response.body().as_ref(), PAGE.as_bytes());
    }

    #[tokio::test]
    async fn tells_the_page_about_its_deployment() {
        let response = get("/assets/config.json").await;
        assert_eq!(response.headers()[CACHE_CONTROL], "no-store");
        assert_eq!(
            json(&response),
            serde_json::json!({
                "websocketUrl": "wss://live.example.com/live",
                "supabaseUrl": "https://project.example.com",
                "supabaseAnonKey": "sb_publishable_example",
                "locationId": "location1",
            })
        );
    }

    #[tokio::test]
    async fn serves_every_asset_and_lets_browsers_revalidate_it() {
        for asset in ASSETS {
            let path = format!("/assets/{}", asset.name);
            let first = get(&path).await;
            assert_eq!(first.status(), StatusCode::OK);
            assert_eq!(first.headers()[CONTENT_TYPE], asset.content_type);
            assert_eq!(first.headers()[CACHE_CONTROL], CACHED_BRIEFLY);

            let mut again = request("GET", &path);
            again.headers_mut().insert(IF_NONE_MATCH, first.headers()[ETAG].clone());
            let second = respond(again).await;
            assert_eq!(second.status(), StatusCode::NOT_MODIFIED);
            assert!(second.body().is_empty());
        }
    }

    #[tokio::test]
    async fn sends_the_whole_file_when_the_browser_has_another_version() {
        let mut request = request("GET", "/assets/app.js");
        request.headers_mut().insert(IF_NONE_MATCH, HeaderValue::from_static("\"older\""));
        assert_eq!(respond(request).await.status(), StatusCode::OK);
    }

    #[tokio::test]
    async fn answers_what_it_does_not_have_in_the_form_of_every_error() {
        for path in ["/assets/secret.js", "/assets/", "/assets/../Cargo.toml", "/elsewhere"] {
            let response = get(path).await;
            assert_eq!(response.status(), StatusCode::NOT_FOUND, "{path}");
            assert_eq!(json(&response)["code"], "no_route");
            assert_eq!(json(&response)["requestId"], "request-1");
        }
    }

    #[tokio::test]
    async fn serves_get_only() {
        for method in ["HEAD", "POST", "DELETE"] {
            let response = respond(request(method, "/")).await;
            assert_eq!(response.status(), StatusCode::METHOD_NOT_ALLOWED);
            assert_eq!(response.headers()[ALLOW], "GET");
            assert_eq!(json(&response)["code"], "method_not_allowed");
        }
    }

    #[tokio::test]
    async fn guards_every_answer() {
        for (method, path) in [("GET", "/"), ("GET", "/assets/app.css"), ("GET", "/nothing"), ("POST", "/")] {
            let response = respond(request(method, path)).await;
            for name in [
                header::CONTENT_SECURITY_POLICY,
                header::STRICT_TRANSPORT_SECURITY,
                header::X_CONTENT_TYPE_OPTIONS,
                header::REFERRER_POLICY,
            ] {
                assert!(response.headers().contains_key(&name), "{method} {path} lacks {name}");
            }
        }
        let policy = get("/").await.headers()[CONTENT_SECURITY_POLICY].clone();
        assert!(policy.to_str().unwrap().contains("script-src 'self';"));
    }
}

//! Which answer a request gets.

use http_api::{ApiError, Method, Request, Response, StatusCode, request};
use lambda_http::{
    Body,
    http::{
        HeaderValue,
        header::{
            ALLOW, CACHE_CONTROL, CONTENT_ENCODING, CONTENT_SECURITY_POLICY, CONTENT_TYPE, ETAG, IF_NONE_MATCH, VARY,
        },
    },
};

use crate::{
    assets::{Asset, Content, PAGE},
    config::{Config, ConfigError},
    encoding::Encoding,
    policy::content_security_policy,
};

const HTML: &str = "text/html; charset=utf-8";
const JSON: &str = "application/json";
const NEVER_CACHED: &str = "no-store";
/// Asked for each time, and sent only if it has changed: it names the files of one version.
const REVALIDATED: &str = "no-cache";
/// What has its version in its address never changes. A page that a deployment has overtaken has all of its files already.
const CACHED_FOR_GOOD: &str = "public, max-age=31536000, immutable";

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
            "/" => page(request),
            "/assets/config.json" => answer(JSON, NEVER_CACHED, self.config_json.clone()),
            path => {
                let asset = Asset::at(path).ok_or_else(ApiError::no_route)?;
                compressed(&asset.content, asset.content_type, CACHED_FOR_GOOD, Encoding::wanted(request.headers()))
            }
        };
        response.headers_mut().insert(CONTENT_SECURITY_POLICY, self.policy.clone());
        Ok(response)
    }
}

/// The page, unless the browser has it.
fn page(request: &Request) -> Response {
    let encoding = Encoding::wanted(request.headers());
    // Each form is a representation of its own.
    let etag = format!("\"{}-{}\"", PAGE.tag, encoding.name());
    let known = request
        .headers()
        .get_all(IF_NONE_MATCH)
        .iter()
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(','))
        // A proxy that changes the form makes our tag a weak one, which counts as equal here.
        .any(|tag| tag.trim().trim_start_matches("W/") == etag);
    let mut response = compressed(&PAGE, HTML, REVALIDATED, encoding);
    if known {
        *response.status_mut() = StatusCode::NOT_MODIFIED;
        *response.body_mut() = Body::Empty;
        response.headers_mut().remove(CONTENT_ENCODING);
    }
    if let Ok(value) = HeaderValue::try_from(etag) {
        response.headers_mut().insert(ETAG, value);
    }
    response
}

/// A file in one of its forms. The gateway wants bytes in base64, which lambda_http makes of a binary body.
fn compressed(content: &Content, content_type: &'static str, cache: &'static str, encoding: Encoding) -> Response {
    let body = match encoding {
        Encoding::Brotli => Body::Binary(content.brotli.to_vec()),
        Encoding::Gzip => Body::Binary(content.gzip.to_vec()),
        Encoding::Plain => Body::Text(content.plain.to_owned()),
    };
    let mut response = answer(content_type, cache, body);
    response.headers_mut().insert(VARY, HeaderValue::from_static("accept-encoding"));
    if encoding != Encoding::Plain {
        response.headers_mut().insert(CONTENT_ENCODING, HeaderValue::from_static(encoding.name()));
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
        http::{
            self,
            header::{self, ACCEPT_ENCODING},
        },
    };
    use serde_json::Value;

    use super::*;
    use crate::anon_key::AnonKey;
    use crate::assets::{ASSETS, VERSION};

    fn dashboard() -> Dashboard {
        Dashboard::new(&Config {
            websocket_url: "wss://live.example.com/live".to_owned(),
            supabase_url: Some("https://project.example.com".to_owned()),
            supabase_anon_key: Some(AnonKey::parse("sb_publishable_example").unwrap()),
            location_id: "location1".to_owned(),
            ghl_order_url: None,
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

    fn accepting(encodings: &'static str, path: &str) -> Request {
        let mut request = request("GET", path);
        request.headers_mut().insert(ACCEPT_ENCODING, HeaderValue::from_static(encodings));
        request
    }

    #[tokio::test]
    async fn serves_the_page_and_lets_browsers_revalidate_it() {
        let first = get("/").await;
        assert_eq!(first.status(), StatusCode::OK);
        assert_eq!(first.headers()[CONTENT_TYPE], HTML);
        assert_eq!(first.headers()[CACHE_CONTROL], "no-cache");
        assert_eq!(first.body().as_ref(), PAGE.plain.as_bytes());

        for encodings in ["gzip, br", "gzip", "identity"] {
            let tag = respond(accepting(encodings, "/")).await.headers()[ETAG].clone();
            for known in [tag.clone(), HeaderValue::try_from(format!("\"x\", W/{}", tag.to_str().unwrap())).unwrap()] {
                let mut again = accepting(encodings, "/");
                again.headers_mut().insert(IF_NONE_MATCH, known);
                let second = respond(again).await;
                assert_eq!(second.status(), StatusCode::NOT_MODIFIED, "{encodings}");
                assert!(second.body().is_empty());
                assert_eq!(second.headers()[ETAG], tag);
                assert!(second.headers().contains_key(CONTENT_SECURITY_POLICY), "the page goes by the newest policy");
            }
            // Another form of the same page, and another page.
            for other in [format!("\"{}-deflate\"", PAGE.tag), "\"older-br\"".to_owned()] {
                let mut changed = accepting(encodings, "/");
                changed.headers_mut().insert(IF_NONE_MATCH, HeaderValue::try_from(other).unwrap());
                assert_eq!(respond(changed).await.status(), StatusCode::OK);
            }
        }
    }

    #[tokio::test]
    async fn serves_each_file_in_the_form_that_is_accepted_and_for_good() {
        for asset in ASSETS {
            let path = format!("/assets/{VERSION}/{}", asset.name);
            for (encodings, form, content) in [
                ("gzip, deflate, br", Some("br"), asset.content.brotli),
                ("gzip, deflate", Some("gzip"), asset.content.gzip),
                ("deflate", None, asset.content.plain.as_bytes()),
            ] {
                let response = respond(accepting(encodings, &path)).await;
                assert_eq!(response.status(), StatusCode::OK);
                assert_eq!(response.headers()[CONTENT_TYPE], asset.content_type);
                assert_eq!(response.headers()[CACHE_CONTROL], "public, max-age=31536000, immutable");
                assert_eq!(response.headers()[VARY], "accept-encoding");
                let sent = response.headers().get(CONTENT_ENCODING).map(|value| value.to_str().unwrap());
                assert_eq!((sent, response.body().as_ref()), (form, content), "{path}");
                // What isn't text must reach the gateway in base64.
                assert_eq!(matches!(response.body(), Body::Binary(_)), form.is_some(), "{path}");
            }
        }
    }

    #[tokio::test]
    async fn an_error_is_never_kept() {
        let response = respond(accepting("br", "/assets/0000000000000000/app.js")).await;
        assert_eq!(
            (response.status(), &response.headers()[CACHE_CONTROL]),
            (StatusCode::NOT_FOUND, &HeaderValue::from_static("no-store"))
        );
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
                "ghlOrderUrl": null,
            })
        );
    }

    #[tokio::test]
    async fn answers_what_it_does_not_have_in_the_form_of_every_error() {
        let own = |name: &str| format!("/assets/{VERSION}/{name}");
        // Also the files of another version: an older page mustn't run newer scripts.
        let others =
            ["/assets/app.js", "/assets/0000000000000000/app.js", "/assets/", "/assets/../Cargo.toml", "/elsewhere"];
        for path in others.map(str::to_owned).into_iter().chain([own("secret.js"), own(""), own("config.json")]) {
            let response = get(&path).await;
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
        let css = format!("/assets/{VERSION}/app.css");
        for (method, path) in [("GET", "/"), ("GET", &css), ("GET", "/nothing"), ("POST", "/")] {
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

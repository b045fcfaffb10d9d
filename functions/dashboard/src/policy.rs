//! What the page may load, and which servers it may call.

use lambda_http::http::{HeaderValue, Uri};

use crate::config::{Config, ConfigError};

const WEBSOCKET: &[&str] = &["wss", "ws"];
const HTTP: &[&str] = &["https", "http"];
/// Where a password may be sent without TLS: nowhere but to this machine, which containers of `sam local` call by the last name.
const THIS_MACHINE: [&str; 3] = ["127.0.0.1", "localhost", "host.docker.internal"];

/// The page's `Content-Security-Policy`: its own files, nothing inline, and besides its own origin only the WebSocket API and the
/// Supabase project that signs users in.
///
/// # Errors
/// Names the variable that holds no usable address.
pub(crate) fn content_security_policy(config: &Config) -> Result<HeaderValue, ConfigError> {
    let mut peers = origin("WEBSOCKET_URL", &config.websocket_url, WEBSOCKET)?;
    if let Some(url) = &config.supabase_url {
        let supabase = origin("SUPABASE_URL", url, HTTP)?;
        let host = supabase.strip_prefix("http://").map(|rest| rest.split(':').next().unwrap_or_default());
        if host.is_some_and(|host| !THIS_MACHINE.contains(&host)) {
            return Err(ConfigError::malformed("SUPABASE_URL", &["https"]));
        }
        peers = format!("{peers} {supabase}");
    }
    let policy = format!(
        "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self' {peers}; \
         frame-ancestors 'none'; base-uri 'none'; form-action 'none'; require-trusted-types-for 'script'"
    );
    HeaderValue::try_from(policy).map_err(|_| ConfigError::malformed("WEBSOCKET_URL", WEBSOCKET))
}

/// `scheme://host[:port]` of an address: taken apart, so that a `;` in a variable can't add to the policy.
fn origin(name: &'static str, address: &str, schemes: &[&str]) -> Result<String, ConfigError> {
    let malformed = || ConfigError::malformed(name, schemes);
    let uri: Uri = address.parse().map_err(|_| malformed())?;
    let scheme = uri.scheme_str().filter(|scheme| schemes.contains(scheme)).ok_or_else(malformed)?;
    let host = uri.host().filter(|host| is_host(host)).ok_or_else(malformed)?;
    Ok(uri.port_u16().map_or_else(|| format!("{scheme}://{host}"), |port| format!("{scheme}://{host}:{port}")))
}

fn is_host(host: &str) -> bool {
    !host.is_empty() && host.chars().all(|c| c.is_ascii_alphanumeric() || ".-_:[]".contains(c))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn policy(websocket_url: &str, supabase_url: Option<&str>) -> Result<HeaderValue, ConfigError> {
        content_security_policy(&Config {
            websocket_url: websocket_url.to_owned(),
            supabase_url: supabase_url.map(str::to_owned),
            supabase_anon_key: None,
            location_id: "location1".to_owned(),
            ghl_order_url: None,
        })
    }

    #[test]
    fn allows_speaking_to_the_two_configured_origins_only() {
        let policy = policy("ws://127.0.0.1:4566/_aws/execute-api/a/live", Some("https://p.example.com/x")).unwrap();
        let policy = policy.to_str().unwrap();
        assert!(policy.contains("connect-src 'self' ws://127.0.0.1:4566 https://p.example.com;"), "{policy}");
        assert!(!policy.contains("unsafe"), "{policy}");
        assert!(self::policy("ws://127.0.0.1:1/live", Some("http://127.0.0.1:8403")).is_ok(), "on this machine");
    }

    #[test]
    fn refuses_addresses_that_are_none() {
        for (websocket_url, supabase_url, name) in [
            ("https://live.example.com", None, "WEBSOCKET_URL"),
            ("live.example.com", None, "WEBSOCKET_URL"),
            ("wss://live;script-src/x", None, "WEBSOCKET_URL"),
            ("wss://live.example.com", Some("/rest"), "SUPABASE_URL"),
            ("wss://live.example.com", Some("http://p.example.com"), "SUPABASE_URL"),
            ("wss://live.example.com", Some("http://127.0.0.1.example.com"), "SUPABASE_URL"),
        ] {
            let refused = policy(websocket_url, supabase_url).unwrap_err().to_string();
            assert!(refused.starts_with(name), "{refused}");
        }
    }
}

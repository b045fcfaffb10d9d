//! What the page gets to know about this deployment. Everything here is public.

use lambda_http::http::Uri;
use serde::Serialize;

use crate::anon_key::{AnonKey, NotPublic};

/// The content of `assets/config.json`.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Config {
    /// Where browsers listen to progress, `wss://...`.
    pub(crate) websocket_url: String,
    /// The Supabase project that signs users in; absent where sessions come from elsewhere.
    pub(crate) supabase_url: Option<String>,
    /// The project's public key. Without it the page offers no sign-in form.
    pub(crate) supabase_anon_key: Option<AnonKey>,
    /// The GHL location that is kept in step.
    pub(crate) location_id: String,
    /// Where people see an order in GHL, as a pattern; without it orders aren't links.
    pub(crate) ghl_order_url: Option<OrderUrl>,
}

/// The address of an order in GHL, with `{orderId}`, and maybe `{locationId}`, in their places.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(transparent)]
pub(crate) struct OrderUrl(String);

impl OrderUrl {
    /// # Errors
    /// Where it is no https address of an order: on the page it becomes a link.
    fn parse(text: &str) -> Result<Self, ConfigError> {
        let filled = text.replace("{orderId}", "order1").replace("{locationId}", "location1");
        let uri = filled.parse::<Uri>().ok().filter(|uri| uri.scheme_str() == Some("https"));
        // The place of the order is in what follows the host: else ids would be sent to hosts of their own.
        let host = uri.as_ref().and_then(Uri::host).filter(|host| !host.is_empty() && !host.contains("order1"));
        if host.is_none() || !text.contains("{orderId}") || filled.contains(['{', '}']) {
            return Err(ConfigError::OrderUrl);
        }
        Ok(Self(text.to_owned()))
    }
}

/// A variable that keeps the function from starting.
#[derive(Debug, PartialEq, thiserror::Error)]
pub(crate) enum ConfigError {
    /// A required variable is absent or empty.
    #[error("{0} is not set: set it in the function's environment")]
    Missing(&'static str),
    /// A variable that should hold an address doesn't.
    #[error("{name} is malformed: it should be a URL like {example}")]
    Malformed {
        /// The variable.
        name: &'static str,
        /// What was expected.
        example: String,
    },
    /// The address of orders in GHL can't be one.
    #[error(
        "GHL_ORDER_URL (the template's GhlOrderUrl) is malformed: it should be the https address of an order in GoHighLevel with \
         {{orderId}} in the order's place, and {{locationId}} in the location's if that is in it; or empty"
    )]
    OrderUrl,
    /// The public key isn't one.
    #[error(transparent)]
    AnonKey(#[from] NotPublic),
}

impl ConfigError {
    /// `schemes`: those the address may have, the usual one first.
    pub(crate) fn malformed(name: &'static str, schemes: &[&str]) -> Self {
        Self::Malformed {
            name,
            example: schemes.iter().map(|scheme| format!("{scheme}://host")).collect::<Vec<_>>().join(" or "),
        }
    }
}

impl Config {
    /// Reads the environment.
    ///
    /// # Errors
    /// Names the first variable that is missing, or a public key that isn't one.
    pub(crate) fn from_env() -> Result<Self, ConfigError> {
        Self::read(|name| std::env::var(name).ok())
    }

    fn read(variable: impl Fn(&str) -> Option<String>) -> Result<Self, ConfigError> {
        // CloudFormation passes what isn't configured as an empty string.
        let optional = |name: &str| variable(name).map(|value| value.trim().to_owned()).filter(|v| !v.is_empty());
        let required = |name: &'static str| optional(name).ok_or(ConfigError::Missing(name));
        let supabase_anon_key = optional("SUPABASE_ANON_KEY").map(|key| AnonKey::parse(&key)).transpose()?;
        let supabase_url = match supabase_anon_key {
            Some(_) => Some(required("SUPABASE_URL")?),
            None => None,
        };
        Ok(Self {
            websocket_url: required("WEBSOCKET_URL")?,
            supabase_url,
            supabase_anon_key,
            location_id: required("GHL_LOCATION_ID")?,
            ghl_order_url: optional("GHL_ORDER_URL").map(|text| OrderUrl::parse(&text)).transpose()?,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const COMPLETE: [(&str, &str); 4] = [
        ("WEBSOCKET_URL", "wss://live.example.com/live"),
        ("SUPABASE_URL", "https://project.example.com"),
        ("SUPABASE_ANON_KEY", "sb_publishable_example"),
        ("GHL_LOCATION_ID", "location1"),
    ];

    fn read_without(absent: &[&str]) -> Result<Config, ConfigError> {
        Config::read(|name| {
            let value = COMPLETE.iter().find(|(key, _)| *key == name)?.1;
            Some(if absent.contains(&name) { " ".to_owned() } else { value.to_owned() })
        })
    }

    #[test]
    fn names_the_variable_that_is_missing() {
        for name in ["WEBSOCKET_URL", "SUPABASE_URL", "GHL_LOCATION_ID"] {
            assert_eq!(read_without(&[name]).err(), Some(ConfigError::Missing(name)));
        }
    }

    #[test]
    fn shows_nobody_a_secret_key() {
        let read = Config::read(|name| match name {
            "SUPABASE_ANON_KEY" => Some(" sb_secret_example ".to_owned()),
            name => Some(COMPLETE.iter().find(|(key, _)| *key == name)?.1.to_owned()),
        });
        assert_eq!(read.err(), Some(ConfigError::AnonKey(NotPublic::Secret("a secret key"))));
    }

    #[test]
    fn needs_no_supabase_project_where_nobody_signs_in_with_a_password() {
        let config = read_without(&["SUPABASE_ANON_KEY", "SUPABASE_URL"]).unwrap();
        assert_eq!(
            serde_json::to_value(config).unwrap(),
            serde_json::json!({
                "websocketUrl": "wss://live.example.com/live",
                "supabaseUrl": null,
                "supabaseAnonKey": null,
                "locationId": "location1",
                "ghlOrderUrl": null,
            })
        );
    }

    #[test]
    fn takes_an_address_of_orders_and_refuses_what_would_be_none() {
        let with = |url: &str| {
            Config::read(|name| match name {
                "GHL_ORDER_URL" => Some(url.to_owned()),
                name => Some(COMPLETE.iter().find(|(key, _)| *key == name)?.1.to_owned()),
            })
        };
        for url in [
            "https://app.example.com/v2/location/{locationId}/payments/orders/{orderId}",
            "https://crm.agency.example/orders?id={orderId}",
            "https://crm.agency.example:8443/#/orders/{orderId}",
        ] {
            assert_eq!(with(url).unwrap().ghl_order_url, Some(OrderUrl(url.to_owned())));
        }
        assert_eq!(with("").unwrap().ghl_order_url, None);
        for url in [
            "http://app.example.com/orders/{orderId}",
            "javascript:alert('{orderId}')",
            "https://app.example.com/orders",
            "https://app.example.com/orders/{orderid}",
            "https://app.example.com/{contactId}/{orderId}",
            "https://{orderId}.example.com/",
            "https:///orders/{orderId}",
            "app.example.com/orders/{orderId}",
            "https://app.example.com/orders /{orderId}",
        ] {
            let refused = with(url).err();
            assert_eq!(refused, Some(ConfigError::OrderUrl), "{url}");
            let said = refused.map(|error| error.to_string()).unwrap_or_default();
            assert!(said.contains("GHL_ORDER_URL") && said.contains("{orderId}") && said.contains("https"), "{said}");
        }
    }
}

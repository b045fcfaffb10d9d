//! Ids from outside, checked where they enter the system.

use std::fmt;

use serde::{Deserialize, Serialize};

/// Why a text isn't an id.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
#[error("{kind} must be 1 to {MAX_LENGTH} letters, digits, '-' or '_'")]
pub struct InvalidId {
    kind: &'static str,
}

/// The longest id we accept, in characters. GHL's are 20 (locations) and 24 (everything else) long.
pub const MAX_LENGTH: usize = 64;

fn check(text: &str, kind: &'static str) -> Result<(), InvalidId> {
    let plain = |c: char| c.is_ascii_alphanumeric() || c == '-' || c == '_';
    if text.is_empty() || text.len() > MAX_LENGTH || !text.chars().all(plain) {
        return Err(InvalidId { kind });
    }
    Ok(())
}

macro_rules! id {
    ($(#[$doc:meta])* $name:ident, $kind:literal) => {
        $(#[$doc])*
        #[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
        #[serde(try_from = "String", into = "String")]
        pub struct $name(String);

        impl $name {
            /// Takes a text that is an id.
            ///
            /// # Errors
            /// [`InvalidId`] when it is empty, too long, or has characters that could change the meaning of a URL or a filter.
            pub fn try_new(text: impl Into<String>) -> Result<Self, InvalidId> {
                let text = text.into();
                check(&text, $kind)?;
                Ok(Self(text))
            }

            /// The id as text.
            #[must_use]
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl TryFrom<String> for $name {
            type Error = InvalidId;
            fn try_from(text: String) -> Result<Self, InvalidId> {
                Self::try_new(text)
            }
        }

        impl std::str::FromStr for $name {
            type Err = InvalidId;
            fn from_str(text: &str) -> Result<Self, InvalidId> {
                Self::try_new(text)
            }
        }

        impl From<$name> for String {
            fn from(id: $name) -> String {
                id.0
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }
    };
}

id!(
    /// An order's id in GHL: 24 hex digits in practice, but nothing relies on it.
    OrderId,
    "an order id"
);
id!(
    /// A contact's id in GHL: who bought.
    ContactId,
    "a contact id"
);
id!(
    /// A GHL location (sub-account): whose orders these are.
    LocationId,
    "a location id"
);
id!(
    /// One run of a sync: a UUID given by the database.
    RunId,
    "a run id"
);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn refuses_what_could_change_a_url_or_a_filter() {
        for bad in ["", "a/b", "..", "a?x=1", "a,b", "a b", "a%2fb", "a\0", "é", &"a".repeat(65)] {
            assert!(OrderId::try_new(bad).is_err(), "{bad:?} was accepted");
        }
        for good in ["660ed43bfdf9fc05a0de7a40", "order_abc123", "a", &"a".repeat(64)] {
            assert_eq!(OrderId::try_new(good).unwrap().as_str(), good);
        }
    }

    #[test]
    fn json_ids_are_checked_too() {
        assert!(serde_json::from_str::<OrderId>(r#""a/b""#).is_err());
        assert_eq!(serde_json::from_str::<OrderId>(r#""ab""#).unwrap().as_str(), "ab");
    }
}

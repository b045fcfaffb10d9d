//! Personal data: stored and passed on, never printed.

use std::fmt;

use serde::Serialize;

/// A buyer's name, e-mail address or phone number.
///
/// It can't get into a log line or an error text by formatting: `Debug` shows that there is a value but not which, and there
/// is no `Display`. It is serialized as it is, since that is how it gets into the database.
#[derive(Clone, PartialEq, Eq, Serialize)]
#[serde(transparent)]
pub struct Personal(String);

impl Personal {
    /// The data itself, to be stored or compared.
    #[must_use]
    pub fn expose(&self) -> &str {
        &self.0
    }
}

impl From<String> for Personal {
    fn from(text: String) -> Self {
        Self(text)
    }
}

impl fmt::Debug for Personal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Personal(..)")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shown_it_says_nothing_and_stored_it_is_whole() {
        let name = Personal::from("Ada".to_owned());
        assert_eq!(format!("{:?}", Some(&name)), "Some(Personal(..))");
        assert_eq!((serde_json::to_string(&name).unwrap(), name.expose()), ("\"Ada\"".to_owned(), "Ada"));
    }
}

//! Whose data has left this server, so that tests can look for it where it mustn't be.

use std::collections::BTreeSet;

use serde_json::Value;

/// The fields of a contact that are personal, in both spellings.
const PERSONAL: [&str; 6] = ["firstName", "lastName", "first_name", "last_name", "email", "phone"];

/// Names, e-mail addresses and phone numbers that were shown to anybody since the start; a reset forgets none.
#[derive(Debug, Default)]
pub(crate) struct People(BTreeSet<String>);

impl People {
    /// Takes down who stands in an order.
    pub(crate) fn meet(&mut self, order: &Value) {
        let contact = order.get("contactSnapshot");
        let fields = PERSONAL.iter().filter_map(|key| contact?.get(key)?.as_str());
        self.0.extend(fields.filter(|text| !text.trim().is_empty()).map(str::to_owned));
    }

    /// All of it.
    pub(crate) fn all(&self) -> &BTreeSet<String> {
        &self.0
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn who_was_shown_is_remembered_once() {
        let mut people = People::default();
        people
            .meet(&json!({"contactSnapshot": {"firstName": "Ada", "last_name": "Quill", "email": " ", "phone": null}}));
        people.meet(&json!({"contactSnapshot": {"firstName": "Ada", "dnd": false}}));
        people.meet(&json!({"contactSnapshot": null}));
        assert_eq!(people.all().iter().collect::<Vec<_>>(), ["Ada", "Quill"]);
    }
}

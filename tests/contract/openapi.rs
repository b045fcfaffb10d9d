//! GHL's OpenAPI 3.0 files as JSON Schemas.

use std::{collections::BTreeSet, fs, path::Path};

use jsonschema::Validator;
use serde_json::{Value, json};

/// Changes a schema where the file is known to be wrong: a pointer below `components/schemas`, and what is right.
pub(crate) type Correction<'a> = (&'a str, Value);

/// One of the files.
pub(crate) struct OpenApi {
    document: Value,
}

impl OpenApi {
    /// Reads it, with the errors' common schemas beside it.
    pub(crate) fn read(folder: &Path, file: &str) -> Self {
        let read =
            |name: &str| -> Value { serde_json::from_str(&fs::read_to_string(folder.join(name)).unwrap()).unwrap() };
        let mut document = read(file);
        let common = read("common-schemas.json")["components"]["schemas"].clone();
        for (name, schema) in common.as_object().unwrap() {
            document["components"]["schemas"][name] = schema.clone();
        }
        modernise(&mut document);
        Self { document }
    }

    /// The schema of one answer, and which fields of `entity` (a component) the file names.
    pub(crate) fn answer(&self, path: &str, status: u16, corrections: &[Correction<'_>]) -> Validator {
        let mut components = self.document["components"].clone();
        for (pointer, schema) in corrections {
            *components.pointer_mut(&format!("/schemas{pointer}")).unwrap() = schema.clone();
        }
        let answer = &self.document["paths"][path]["get"]["responses"][status.to_string()];
        let schema = &answer["content"]["application/json"]["schema"];
        assert!(schema.is_object(), "{path} has no schema for {status}");
        let root = json!({
            "$schema": "https://json-schema.org/draft/2020-12/schema",
            "allOf": [schema],
            "components": components,
        });
        jsonschema::options().should_validate_formats(true).build(&root).unwrap()
    }

    /// The fields of a value the file doesn't name for that component.
    pub(crate) fn unnamed(&self, component: &str, value: &Value) -> BTreeSet<String> {
        let named = &self.document["components"]["schemas"][component]["properties"];
        assert!(named.is_object(), "no component {component}");
        value.as_object().unwrap().keys().filter(|key| named.get(key.as_str()).is_none()).cloned().collect()
    }
}

/// OpenAPI 3.0 to JSON Schema 2020-12: `nullable`, the boolean bounds, and references to the other file.
fn modernise(value: &mut Value) {
    match value {
        Value::Array(parts) => parts.iter_mut().for_each(modernise),
        Value::Object(fields) => {
            if let Some(Value::String(reference)) = fields.get_mut("$ref")
                && let Some((_, inside)) = reference.split_once("common-schemas.json")
            {
                *reference = inside.to_owned();
            }
            let nullable = fields.get("nullable") == Some(&json!(true));
            if nullable && let Some(Value::String(name)) = fields.get("type") {
                let either = json!([name, "null"]);
                fields.insert("type".to_owned(), either);
            }
            for (flag, bound) in [("exclusiveMinimum", "minimum"), ("exclusiveMaximum", "maximum")] {
                if let Some(Value::Bool(exclusive)) = fields.get(flag) {
                    let exclusive = *exclusive;
                    fields.remove(flag);
                    if exclusive && let Some(limit) = fields.remove(bound) {
                        fields.insert(flag.to_owned(), limit);
                    }
                }
            }
            fields.values_mut().for_each(modernise);
        }
        _ => {}
    }
}

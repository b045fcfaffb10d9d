//! TypeScript's declarations of types, as far as GHL's client uses them: interfaces whose fields are text, numbers, yes or no, other
//! interfaces, lists of these, or anything.

use std::{collections::BTreeMap, fs, path::Path};

use serde_json::{Value, json};

struct Field {
    name: String,
    optional: bool,
    of: String,
}

/// The interfaces of one file.
pub(crate) struct Declarations(BTreeMap<String, Vec<Field>>);

impl Declarations {
    pub(crate) fn read(path: &Path) -> Self {
        Self::of(&fs::read_to_string(path).unwrap_or_else(|error| panic!("{}: {error}", path.display())))
    }

    fn of(text: &str) -> Self {
        let mut interfaces = BTreeMap::new();
        for part in text.split("export interface ").skip(1) {
            let (name, rest) = part.split_once(" {").expect("an interface has a name and a body");
            let body = rest.split_once("\n}").map_or("", |(body, _)| body);
            interfaces.insert(name.to_owned(), body.lines().filter_map(field).collect());
        }
        Self(interfaces)
    }

    /// Without a field that is declared wrongly.
    pub(crate) fn without(mut self, interface: &str, field: &str) -> Self {
        let fields = self.0.get_mut(interface).expect("the interface is declared");
        let before = fields.len();
        fields.retain(|declared| declared.name != field);
        assert_eq!(fields.len() + 1, before, "{interface} has no {field}");
        self
    }

    /// A value is as declared.
    #[track_caller]
    pub(crate) fn check(&self, interface: &str, value: &Value) {
        assert!(self.0.contains_key(interface), "{interface} isn't declared");
        let mut wrong = Vec::new();
        self.compare(interface, value, interface, &mut wrong);
        assert!(wrong.is_empty(), "not as GHL's client declares it:\n{}", wrong.join("\n"));
    }

    fn compare(&self, of: &str, value: &Value, place: &str, wrong: &mut Vec<String>) {
        if let Some(element) = of.strip_suffix("[]") {
            match value.as_array() {
                Some(values) => {
                    for (number, value) in values.iter().enumerate() {
                        self.compare(element, value, &format!("{place}[{number}]"), wrong);
                    }
                }
                None => wrong.push(format!("{place} is no list")),
            }
            return;
        }
        if let Some(fields) = self.0.get(of) {
            for Field { name, optional, of } in fields {
                match value.get(name) {
                    Some(value) => self.compare(of, value, &format!("{place}.{name}"), wrong),
                    None if *optional => {}
                    None => wrong.push(format!("{place}.{name} is missing")),
                }
            }
            return;
        }
        let right = match of {
            "string" => value.is_string(),
            "number" => value.is_number(),
            "boolean" => value.is_boolean(),
            "any" => true,
            _ => panic!("{place} is declared as {of}, which isn't read here"),
        };
        if !right {
            wrong.push(format!("{place} is no {of}: {value}"));
        }
    }
}

/// `name?: type;`
fn field(line: &str) -> Option<Field> {
    let (name, of) = line.trim().strip_suffix(';')?.split_once(": ")?;
    let plain = name.trim_end_matches('?');
    Some(Field { name: plain.to_owned(), optional: plain != name, of: of.to_owned() })
}

#[test]
fn what_is_not_as_declared_is_found() {
    let declared = Declarations::of(
        "export interface Row {\n    _id: string;\n    amount?: number;\n}\n\
         export interface Page {\n    data: Row[];\n    more: any;\n}\n",
    );
    let wrong = |value: Value| {
        let mut wrong = Vec::new();
        declared.compare("Page", &value, "", &mut wrong);
        wrong
    };
    assert_eq!(wrong(json!({"data": [{"_id": "1", "amount": 2.5}, {"_id": "2"}], "more": 1})), [""; 0]);
    let found = wrong(json!({"data": [{"amount": "2.5"}]}));
    assert_eq!(found, [".data[0]._id is missing", ".data[0].amount is no number: \"2.5\"", ".more is missing"]);
    assert_eq!(wrong(json!({"data": {}, "more": null})), [".data is no list"]);
}

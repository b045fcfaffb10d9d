//! What fixtures say in braces, so that they needn't spell out the fake GHL's ids.
//!
//! | in a fixture | becomes |
//! |---|---|
//! | `"{product harbour}"`, `"{price harbour/vip}"` | the product or price as an order shows it: an object |
//! | `{harbour}`, `{harbour/vip}` | its id |
//! | `{a*200}` | 200 times the letter a |
//!
//! A product goes by the first word of its name.

use std::collections::BTreeMap;

use serde_json::{Value, json};

/// The catalogue by these names.
pub(crate) struct Names(BTreeMap<String, Value>);

impl Names {
    /// The names of the fake's products and prices.
    pub(crate) fn of(products: &[Value]) -> Self {
        let mut names = BTreeMap::new();
        for product in products {
            let name = product["name"].as_str().unwrap().to_lowercase();
            let product_name = name.split(' ').next().unwrap();
            let shown = json!({ "_id": product["_id"], "name": product["name"], "image": product["image"] });
            names.insert(format!("product {product_name}"), shown);
            names.insert(product_name.to_owned(), product["_id"].clone());
            for price in product["prices"].as_array().unwrap() {
                let name = format!("{product_name}/{}", price["name"].as_str().unwrap().to_lowercase());
                let amount = price["cents"].as_f64().unwrap() / 100.0;
                let shown = json!({
                    "_id": price["_id"], "name": price["name"], "type": "one_time", "currency": price["currency"],
                    "amount": amount,
                });
                names.insert(format!("price {name}"), shown);
                names.insert(name, price["_id"].clone());
            }
        }
        Self(names)
    }

    /// The same with every name replaced by what it stands for.
    pub(crate) fn resolve(&self, value: &Value) -> Result<Value, String> {
        match value {
            Value::String(text) => match self.0.get(text.trim_matches(['{', '}'])) {
                Some(whole) if text.starts_with('{') => Ok(whole.clone()),
                _ => Ok(Value::String(self.within(text)?)),
            },
            Value::Array(values) => values.iter().map(|value| self.resolve(value)).collect(),
            Value::Object(fields) => {
                let resolved = fields.iter().map(|(key, value)| Ok((key.clone(), self.resolve(value)?)));
                resolved.collect::<Result<_, _>>().map(Value::Object)
            }
            other => Ok(other.clone()),
        }
    }

    fn within(&self, text: &str) -> Result<String, String> {
        let mut parts = text.split('{');
        let mut resolved = parts.next().unwrap_or_default().to_owned();
        for part in parts {
            let (name, rest) = part.split_once('}').ok_or_else(|| format!("a brace isn't closed: {text}"))?;
            let repeated = name.split_once('*').and_then(|(letter, times)| Some(letter.repeat(times.parse().ok()?)));
            let id = || self.0.get(name)?.as_str().map(str::to_owned);
            resolved.push_str(&repeated.or_else(id).ok_or_else(|| format!("nothing is called {{{name}}}"))?);
            resolved.push_str(rest);
        }
        Ok(resolved)
    }
}

use std::collections::{BTreeMap, BTreeSet};

use docs::{names, table};
use queues::{OrderMessage, OrdersMessage, PublishMessage, RunMessage, TicketMessage, TicketsMessage};
use serde::de::{DeserializeOwned, Deserializer, Visitor, value::Error};
use serde::forward_to_deserialize_any;
use serde_json::{Value, json};

use crate::template::Template;

/// Takes down the fields that a type asks for.
struct Fields<'a>(&'a mut Vec<&'static str>);

impl<'de> Deserializer<'de> for Fields<'_> {
    type Error = Error;

    fn deserialize_struct<V: Visitor<'de>>(
        self,
        _name: &'static str,
        fields: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Error> {
        self.0.extend(fields);
        self.deserialize_any(visitor)
    }

    fn deserialize_any<V: Visitor<'de>>(self, _visitor: V) -> Result<V::Value, Error> {
        Err(serde::de::Error::custom("only the fields are wanted"))
    }

    forward_to_deserialize_any! {
        bool i8 i16 i32 i64 u8 u16 u32 u64 f32 f64 char str string bytes byte_buf option unit unit_struct newtype_struct seq tuple
        tuple_struct map enum identifier ignored_any
    }
}

/// The fields of a message, those that may be absent with `?`. `example` is a message that is accepted.
fn fields<T: DeserializeOwned>(example: &Value) -> BTreeSet<String> {
    let mut fields = Vec::new();
    assert!(T::deserialize(Fields(&mut fields)).is_err());
    serde_json::from_value::<T>(example.clone()).map(drop).expect("the example is a message");
    let marked = fields.iter().map(|field| {
        let mut without = example.clone();
        without.as_object_mut().unwrap().remove(*field);
        let optional = serde_json::from_value::<T>(without).is_ok();
        format!("{field}{}", if optional { "?" } else { "" })
    });
    marked.collect()
}

#[test]
fn the_page_has_the_fields_of_every_message() {
    let example = json!({
        "location_id": "loc", "order_id": "ord", "cause": "webhook", "run_id": "r1", "attempt": 1, "change": "written", "pulse": 1,
        "publish": true, "order_ids": ["ord"], "orders": [], "dispatched_at_ms": 1, "calls_at_ms": 1,
    });
    let made = BTreeMap::from([
        ("OrderMessage".to_owned(), fields::<OrderMessage>(&example)),
        ("TicketMessage".to_owned(), fields::<TicketMessage>(&example)),
        ("OrdersMessage".to_owned(), fields::<OrdersMessage>(&example)),
        ("TicketsMessage".to_owned(), fields::<TicketsMessage>(&example)),
        ("RunMessage".to_owned(), fields::<RunMessage>(&example)),
        ("PublishMessage".to_owned(), fields::<PublishMessage>(&example)),
    ]);
    let rows = table("queues.md", "Messages");
    let documented: BTreeMap<_, BTreeSet<_>> = rows
        .iter()
        .map(|row| (row.value(0).to_owned(), row.codes(1).into_iter().map(str::to_owned).collect()))
        .collect();
    assert_eq!(documented, made);
}

#[test]
fn the_page_has_the_queues_of_the_template() {
    let rows = table("queues.md", "Queues");
    assert_eq!(names(&rows), Template::read().queues());
    let messages = names(&table("queues.md", "Messages"));
    let read: BTreeSet<_> = rows.iter().flat_map(|row| row.codes(1)).map(str::to_owned).collect();
    assert_eq!(read, messages);
}

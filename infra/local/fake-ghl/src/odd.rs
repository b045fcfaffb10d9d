//! The dozen odd orders: each shows cases real data brings.
//!
//! | name | what is odd | valid | tickets |
//! |---|---|---|---|
//! | `unlisted_product` | its product isn't in the product list | no | 0 |
//! | `null_items` | paid, `items` is null | no | 0 |
//! | `other_location` | listed here, belongs to another location | no | 0 |
//! | `test_mode` | `liveMode: false`, `markAsTest: true` | yes | 0 |
//! | `refunded` | refunded in full | yes | 0 |
//! | `unpaid` | pending, unpaid | yes | 0 |
//! | `same_price_twice` | one price on two lines, 2 + 1 | yes | 3 |
//! | `missing_price_name` | one line without a price name, one without a price and item name | yes | 2 |
//! | `old_record` | `qty` as "2" and as 2.0, snake_case contact, times without milliseconds | yes | 4 |
//! | `fractional_quantity` | `qty` 1.5, one line without `qty`, one line of 1 | yes | 1 |
//! | `unicode_names` | emoji, right-to-left and very long names | yes | 1 |
//! | `nested_without_contact` | served as `{"order": {...}}`, no contact at all | yes | 1 |

use serde_json::{Value, json};

use crate::{
    catalogue::{self, Product},
    clock,
    id::Id,
    ordinary::{self, Line, Person},
    random::Seed,
};

/// Their names, newest first.
pub(crate) const NAMES: [&str; 12] = [
    "unlisted_product",
    "null_items",
    "other_location",
    "test_mode",
    "refunded",
    "unpaid",
    "same_price_twice",
    "missing_price_name",
    "old_record",
    "fractional_quantity",
    "unicode_names",
    "nested_without_contact",
];

/// The id of an odd order; the same whatever the number of ordinary ones.
pub(crate) fn id(seed: Seed, number: usize) -> Id {
    seed.id("odd order", number as u64)
}

/// One odd order.
pub(crate) fn order(seed: Seed, location: &str, events: &[Product], number: usize, created: i64) -> Value {
    let name = NAMES.get(number).copied().unwrap_or_default();
    let shirt = catalogue::unlisted(seed);
    let product = match name {
        "unlisted_product" => Some(&shirt),
        _ => events.get(number % events.len().max(1)),
    };
    let quantities: &[(usize, u64)] = match name {
        "same_price_twice" => &[(1, 2), (1, 1)],
        "missing_price_name" => &[(0, 1), (1, 1)],
        "old_record" => &[(0, 2), (1, 2)],
        "fractional_quantity" => &[(0, 1), (1, 1), (2, 1)],
        "unicode_names" | "nested_without_contact" => &[(0, 1)],
        _ => &[(1, 2)],
    };
    let line = |&(price, quantity): &(usize, u64)| {
        let product = product?;
        Some(Line { product, price: product.prices.get(price)?, quantity })
    };
    let lines: Vec<Line<'_>> = quantities.iter().filter_map(line).collect();
    // Its own range of people: nobody here buys an ordinary order too.
    let buyer = Person::new(seed, 1_000_000 + number as u64);
    let mut order = ordinary::order(seed, location, id(seed, number), created, &buyer, &lines, 0);
    make_odd(&mut order, name, seed, created, &buyer);
    order
}

fn make_odd(order: &mut Value, name: &str, seed: Seed, created: i64, buyer: &Person) {
    match name {
        "null_items" => set(order, "/items", Value::Null),
        "other_location" => set(order, "/altId", json!(seed.word("other location", 0))),
        "test_mode" => {
            set(order, "/liveMode", json!(false));
            set(order, "/markAsTest", json!(true));
        }
        "refunded" => {
            set(order, "/status", json!("refunded"));
            set(order, "/paymentStatus", json!("refunded"));
        }
        "unpaid" => {
            set(order, "/status", json!("pending"));
            set(order, "/paymentStatus", json!("unpaid"));
        }
        "missing_price_name" => {
            remove(order, "/items/0/price", "name");
            remove(order, "/items/1", "price");
            remove(order, "/items/1", "name");
        }
        "old_record" => {
            set(order, "/items/0/qty", json!("2"));
            set(order, "/items/1/qty", json!(2.0));
            set(order, "/createdAt", json!(clock::old_text(created)));
            set(order, "/updatedAt", json!(clock::old_text(created + 61_000)));
            set(
                order,
                "/contactSnapshot",
                json!({
                    "id": buyer.id,
                    "type": "lead",
                    "first_name": buyer.first_name,
                    "last_name": buyer.last_name,
                    "first_name_lower_case": buyer.first_name.to_lowercase(),
                    "email": buyer.email,
                    "phone": buyer.phone,
                }),
            );
        }
        "fractional_quantity" => {
            set(order, "/items/0/qty", json!(1.5));
            remove(order, "/items/1", "qty");
        }
        "unicode_names" => {
            set(order, "/items/0/price/name", json!("🎟️ VIP كبار الزوار"));
            set(order, "/items/0/name", json!("שלום 👩‍👩‍👧‍👦 ".repeat(400)));
            set(order, "/contactSnapshot/firstName", json!("Zoë 🌊"));
            set(order, "/contactSnapshot/lastName", json!("ليلى"));
        }
        "nested_without_contact" => {
            remove(order, "", "contactSnapshot");
            remove(order, "", "contactId");
            if let Some(order) = order.as_object_mut() {
                order.insert("_fake".into(), json!({"nested": true}));
            }
        }
        _ => {}
    }
}

fn set(order: &mut Value, pointer: &str, value: Value) {
    if let Some(place) = order.pointer_mut(pointer) {
        *place = value;
    }
}

fn remove(order: &mut Value, pointer: &str, key: &str) {
    if let Some(place) = order.pointer_mut(pointer).and_then(Value::as_object_mut) {
        place.remove(key);
    }
}

//! The ordinary orders: paid, live, of listed events, made from the seed whenever one is asked for.
//!
//! Orders come in pairs of six tickets, so that N of them always entitle to exactly 3 x N.

use serde_json::{Value, json};

use crate::{
    catalogue::{Price, Product, money},
    clock,
    id::Id,
    random::Seed,
};

const FIRST_NAMES: [&str; 20] = [
    "Ada", "Bruno", "Chiara", "Dmitri", "Elif", "Farid", "Greta", "Hugo", "Ines", "Jonas", "Kaja", "Liam", "Mira",
    "Noor", "Otto", "Paula", "Quentin", "Rosa", "Stellan", "Tove",
];
const LAST_NAMES: [&str; 20] = [
    "Almqvist",
    "Bergamo",
    "Castell",
    "Dunmore",
    "Eriksen",
    "Fontaine",
    "Grimshaw",
    "Holloway",
    "Ivarsson",
    "Jarvis",
    "Kestrel",
    "Lindqvist",
    "Marlowe",
    "Northcott",
    "Okafor",
    "Pemberton",
    "Quill",
    "Ravensworth",
    "Sorensen",
    "Thackeray",
];

/// An invented person.
#[derive(Debug, Clone)]
pub(crate) struct Person {
    pub(crate) id: String,
    pub(crate) first_name: &'static str,
    pub(crate) last_name: &'static str,
    pub(crate) email: String,
    pub(crate) phone: String,
}

impl Person {
    /// The person of that number.
    pub(crate) fn new(seed: Seed, number: u64) -> Self {
        let first_name = seed.pick("first name", number, &FIRST_NAMES);
        let last_name = seed.pick("last name", number, &LAST_NAMES);
        Self {
            id: seed.word("contact", number),
            first_name,
            last_name,
            email: format!("{}.{}.{number}@example.com", first_name.to_lowercase(), last_name.to_lowercase()),
            // 555-0100 to 555-0199 are reserved for fiction.
            phone: format!("+120255501{:02}", number % 100),
        }
    }

    /// As the order keeps it.
    pub(crate) fn snapshot(&self, location: &str) -> Value {
        json!({
            "id": self.id,
            "locationId": location,
            "firstName": self.first_name,
            "lastName": self.last_name,
            "email": self.email,
            "phone": self.phone,
            "dnd": false,
            "tags": [],
        })
    }
}

/// The time of the order at a place in the list; place 0 is the newest.
pub(crate) fn created(seed: Seed, place: u64) -> i64 {
    clock::BASE_TIME - place as i64 * 300_000 - seed.below("minute", place, 240_000) as i64
}

/// A line of an order.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Line<'a> {
    pub(crate) product: &'a Product,
    pub(crate) price: &'a Price,
    pub(crate) quantity: u64,
}

impl Line<'_> {
    /// As it stands in `items`.
    pub(crate) fn item(&self, item_id: Id) -> Value {
        json!({
            "_id": item_id,
            "name": format!("{} - {}", self.product.name, self.price.name),
            "qty": self.quantity,
            "product": {
                "_id": self.product.id,
                "name": self.product.name,
                "image": self.product.image,
                "productType": "SERVICE",
                "availableInStore": true,
            },
            "price": {
                "_id": self.price.id,
                "name": self.price.name,
                "type": "one_time",
                "currency": self.price.currency,
                "amount": money(self.price.cents),
            },
        })
    }

    fn cents(&self) -> i64 {
        self.price.cents * self.quantity as i64
    }
}

/// How many tickets ordinary order `index` of `count` entitles to: pairs of six, a last single one of three.
pub(crate) fn tickets(seed: Seed, index: u64, count: u64) -> u64 {
    if index + 1 == count && count % 2 == 1 {
        return 3;
    }
    let first = 1 + seed.below("tickets", index / 2, 5);
    if index.is_multiple_of(2) { first } else { 6 - first }
}

/// Who bought ordinary order `index` of `count`: about two orders for each person.
pub(crate) fn buyer(seed: Seed, index: u64, count: u64) -> Person {
    Person::new(seed, seed.below("buyer", index, count / 2 + 1))
}

/// The lines of an ordinary order: one, or two of one event, or two of two events.
pub(crate) fn lines<'a>(seed: Seed, events: &'a [Product], index: u64, quantity: u64) -> Vec<Line<'a>> {
    let line = |purpose: &str, event: u64, quantity: u64| {
        let product = events.get(event as usize % events.len().max(1))?;
        let price = product.prices.get(seed.below(purpose, index, product.prices.len() as u64) as usize)?;
        Some(Line { product, price, quantity })
    };
    let event = seed.below("event", index, events.len() as u64);
    let split = quantity > 1 && seed.below("split", index, 3) == 0;
    let first = if split { 1 + seed.below("first part", index, quantity - 1) } else { quantity };
    let second_event = event + seed.below("second event", index, 3) / 2;
    let mut lines = Vec::from_iter(line("price", event, first));
    if split && let Some(second) = line("second price", second_event, quantity - first) {
        let same = lines.iter_mut().find(|line| line.price.id == second.price.id);
        match same {
            Some(line) => line.quantity += second.quantity,
            None => lines.push(second),
        }
    }
    lines
}

/// An order as `GET /payments/orders/{id}` shows it, with plain values for everything not given.
pub(crate) fn order(
    seed: Seed,
    location: &str,
    id: Id,
    created: i64,
    buyer: &Person,
    lines: &[Line<'_>],
    discount_percent: i64,
) -> Value {
    let subtotal: i64 = lines.iter().map(Line::cents).sum();
    let discount = subtotal * discount_percent / 100;
    let currency = lines.first().map_or("USD", |line| line.price.currency.as_str());
    let event = lines.first().map_or("", |line| line.product.name.as_str());
    let items: Vec<Value> =
        lines.iter().zip(0..).map(|(line, place)| line.item(seed.id("item", id.number() ^ place))).collect();
    let mut order = json!({
        "_id": id,
        "altId": location,
        "altType": "location",
        "contactId": buyer.id,
        "contactSnapshot": buyer.snapshot(location),
        "currency": currency,
        "amount": money(subtotal - discount),
        "amountSummary": {"subtotal": money(subtotal), "discount": money(discount), "tax": 0, "shipping": 0},
        "status": "completed",
        "paymentStatus": "paid",
        "fulfillmentStatus": "unfulfilled",
        "liveMode": true,
        "markAsTest": false,
        "source": {
            "type": "funnel",
            "subType": "two_step_order_form",
            "id": seed.word("funnel", seed.below("funnel", id.number(), 4)),
            "name": format!("{event} tickets"),
            "meta": {"domain": "tickets.example.com", "pageUrl": "/checkout"},
        },
        "items": items,
        "automaticTaxesCalculated": false,
        "trackingId": seed.word("tracking", id.number()),
        "createdAt": clock::text(created),
        "updatedAt": clock::text(created + 4_261 + seed.below("paid after", id.number(), 100_000) as i64),
    });
    if discount > 0
        && let Some(order) = order.as_object_mut()
    {
        let code = format!("SAVE{discount_percent}");
        order.insert("coupon".into(), json!({"_id": seed.id("coupon", discount_percent as u64), "code": code}));
    }
    order
}

/// How much ordinary order `index` was reduced by: one in 25 was free, one in 10 cost a tenth less.
pub(crate) fn discount(seed: Seed, index: u64) -> i64 {
    match seed.below("discount", index, 50) {
        0 | 1 => 100,
        2..=6 => 10,
        _ => 0,
    }
}

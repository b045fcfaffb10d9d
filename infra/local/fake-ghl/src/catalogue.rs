//! What the invented location sells: six events with their prices, and a T-shirt that isn't listed any more.

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use crate::{clock, random::Seed};

/// An event or thing for sale.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Product {
    /// 24 hex digits.
    #[serde(rename = "_id")]
    pub(crate) id: String,
    /// Shown to buyers.
    pub(crate) name: String,
    /// Address of a picture.
    #[serde(default)]
    pub(crate) image: String,
    /// Whether `GET /products/` shows it; GHL has no other sign of being active.
    #[serde(default = "yes")]
    pub(crate) listed: bool,
    /// What it costs.
    #[serde(default)]
    pub(crate) prices: Vec<Price>,
}

/// One way to buy a product.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Price {
    /// 24 hex digits.
    #[serde(rename = "_id")]
    pub(crate) id: String,
    /// The ticket type, such as `VIP`.
    pub(crate) name: String,
    /// Hundredths of the major unit.
    pub(crate) cents: i64,
    /// ISO 4217.
    pub(crate) currency: String,
}

fn yes() -> bool {
    true
}

type Offer = (&'static str, &'static str, [(&'static str, i64); 3]);

const EVENTS: [Offer; 6] = [
    ("Harbour Lights Festival", "USD", [("VIP", 15_010), ("Regular", 6_000), ("Early Bird", 4_550)]),
    ("Riverside Jazz Night", "USD", [("VIP", 9_900), ("Regular", 4_500), ("Early Bird", 3_825)]),
    ("Northern Food Fair", "USD", [("Family", 5_490), ("Regular", 1_850), ("Early Bird", 1_275)]),
    ("Midsummer Open Air", "EUR", [("VIP", 12_000), ("Regular", 5_995), ("Student", 2_990)]),
    ("Winter Choir Gala", "EUR", [("VIP", 7_550), ("Regular", 3_200), ("Early Bird", 2_600)]),
    ("Lantern Walk", "USD", [("Adult", 1_200), ("Child", 610), ("Early Bird", 999)]),
];

/// The listed events.
pub(crate) fn events(seed: Seed) -> Vec<Product> {
    EVENTS.iter().enumerate().map(|(index, offer)| product(seed, index as u64, offer, true)).collect()
}

/// A product that orders still name and the list doesn't.
pub(crate) fn unlisted(seed: Seed) -> Product {
    let offer = ("Festival T-shirt", "USD", [("Small", 1_990), ("Medium", 1_990), ("Large", 2_190)]);
    product(seed, EVENTS.len() as u64, &offer, false)
}

fn product(seed: Seed, index: u64, (name, currency, prices): &Offer, listed: bool) -> Product {
    let slug = name.to_lowercase().replace(' ', "-");
    let price = |(place, (name, cents)): (usize, &(&str, i64))| Price {
        id: seed.id("price", index * 10 + place as u64).to_string(),
        name: (*name).to_owned(),
        cents: *cents,
        currency: (*currency).to_owned(),
    };
    Product {
        id: seed.id("product", index).to_string(),
        name: (*name).to_owned(),
        image: format!("https://images.example.com/{slug}.png"),
        listed,
        prices: prices.iter().enumerate().map(price).collect(),
    }
}

/// Cents as GHL writes amounts: a decimal in major units, `150.1` or `60`.
pub(crate) fn money(cents: i64) -> Value {
    if cents % 100 == 0 { json!(cents / 100) } else { json!(cents as f64 / 100.0) }
}

impl Product {
    /// Its row in `GET /products/`.
    pub(crate) fn row(&self, location: &str) -> Value {
        json!({
            "_id": self.id,
            "locationId": location,
            "name": self.name,
            "description": format!("<p>{}</p>", self.name),
            "image": self.image,
            "productType": "SERVICE",
            "availableInStore": true,
            "variants": [],
            "collectionIds": [],
            "isTaxesEnabled": false,
            "taxes": [],
            "createdAt": clock::text(clock::BASE_TIME - 400 * 86_400_000),
            "updatedAt": clock::text(clock::BASE_TIME - 390 * 86_400_000),
        })
    }

    /// Its rows in `GET /products/{id}/price`.
    pub(crate) fn price_rows(&self, location: &str) -> Vec<Value> {
        let row = |price: &Price| {
            json!({
                "_id": price.id,
                "locationId": location,
                "product": self.id,
                "name": price.name,
                "type": "one_time",
                "currency": price.currency,
                "amount": money(price.cents),
                "variantOptionIds": [],
                "membershipOffers": [],
                "trackInventory": true,
                "availableQuantity": 500,
                "allowOutOfStockPurchases": false,
                "createdAt": clock::text(clock::BASE_TIME - 400 * 86_400_000),
                "updatedAt": clock::text(clock::BASE_TIME - 390 * 86_400_000),
            })
        };
        self.prices.iter().map(row).collect()
    }
}

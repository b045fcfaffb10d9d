//! An order's items become lines: one per product and price, with a label and a whole number of tickets. Items without one of the ids
//! stay apart: which stored lines they are is decided where these are locked (`match_lines` in `orders.sql`).

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::issue::Issue;

/// The label of a ticket whose price, item and product have no name.
pub const DEFAULT_LABEL: &str = "General";
/// The longest label we keep, in characters: a 10 kB name is cut, since a badge shows a few words.
pub const MAX_LABEL_CHARS: usize = 200;

/// One item as GHL sent it, in our words. Nothing is checked yet.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Item {
    /// The product's id, not the item's own.
    pub product_id: Option<String>,
    /// The price's id.
    pub price_id: Option<String>,
    /// The price's name: the ticket type.
    pub price_name: Option<String>,
    /// The item's own name.
    pub item_name: Option<String>,
    /// The product's name: the event.
    pub product_name: Option<String>,
    /// The quantity as sent: a number, a text, or nothing.
    pub quantity: Option<Value>,
}

/// A line of an order: how many tickets of which price it asks for.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Line {
    /// The product's id, empty when GHL left it out.
    pub product_id: String,
    /// The price's id, empty when GHL left it out; the label is the key then.
    pub price_id: String,
    /// What the ticket says: a label, free to change.
    pub ticket_type: String,
    /// Tickets asked for: 0 when the quantity was refused, `None` when it couldn't be read. Then the line keeps the
    /// quantity it was stored with: no tickets are cancelled because something couldn't be read.
    pub quantity: Option<u32>,
    /// Whether the label is the name of the price, and not of something else because GHL left that out: a line keeps the label it has
    /// until GHL names its price.
    #[serde(default = "yes", skip_serializing_if = "Clone::clone")]
    pub price_named: bool,
}

const fn yes() -> bool {
    true
}

impl Line {
    fn has_ids(&self) -> bool {
        !self.product_id.is_empty() && !self.price_id.is_empty()
    }

    /// Whether both would be one line in an order that nothing is known of.
    fn is_like(&self, other: &Self) -> bool {
        self.product_id == other.product_id
            && self.price_id == other.price_id
            && (!self.price_id.is_empty() || self.ticket_type == other.ticket_type)
    }
}

/// Reads items into lines; the same price twice is summed, except for items without one of the ids. A quantity that can't be honoured counts as 0, one that can't
/// be read makes its line's unknown; both are reported.
#[must_use]
pub fn lines(items: &[Item], max_quantity: u32) -> (Vec<Line>, Vec<Issue>) {
    let mut lines: Vec<Line> = Vec::new();
    let mut over_limit: Vec<usize> = Vec::new();
    let mut issues = Vec::new();
    for (position, item) in items.iter().enumerate() {
        let product_id = item.product_id.clone().unwrap_or_default();
        let price_id = item.price_id.clone().unwrap_or_default();
        let quantity = match quantity(item.quantity.as_ref(), max_quantity) {
            Ok(quantity) => Some(quantity),
            Err(reason) => {
                issues.push(not_honoured(position, &product_id, &price_id, reason));
                (!reason.is_unreadable()).then_some(0)
            }
        };
        let price_named = item.price_name.as_ref().is_some_and(|name| !name.trim().is_empty());
        let mut line = Line { product_id, price_id, ticket_type: label(item), quantity, price_named };
        let Some(known) = lines.iter().position(|known| known.is_like(&line)) else {
            lines.push(line);
            continue;
        };
        // Lines whose sum is too large entitle to nothing, even if more items follow.
        let sum = if over_limit.contains(&known) {
            Some(0)
        } else {
            let quantities = lines.iter().filter(|known| known.is_like(&line)).map(|known| known.quantity);
            quantities.chain([line.quantity]).sum::<Option<u32>>()
        };
        let is_too_much = sum.is_some_and(|sum| sum > max_quantity);
        if is_too_much {
            over_limit.push(known);
            let reason = QuantityRefused::TooMany { max: max_quantity };
            issues.push(not_honoured(position, &line.product_id, &line.price_id, reason));
        }
        let is_refused = over_limit.contains(&known);
        if is_refused {
            line.quantity = Some(0);
            lines.iter_mut().filter(|known| known.is_like(&line)).for_each(|known| known.quantity = Some(0));
        }
        if !line.has_ids() {
            lines.push(line);
        } else if let Some(known) = lines.get_mut(known).filter(|_| !is_refused) {
            known.quantity = sum;
        }
    }
    (lines, issues)
}

/// The seed's form of the quantities: tickets per label, such as `{"VIP": 2, "Regular": 3}`. Unknown ones count as 0
/// here; the database sums again where it has the stored quantity.
#[must_use]
pub fn ticket_quantities(lines: &[Line]) -> BTreeMap<String, u64> {
    let mut quantities = BTreeMap::new();
    for line in lines {
        *quantities.entry(line.ticket_type.clone()).or_insert(0) += u64::from(line.quantity.unwrap_or(0));
    }
    quantities
}

fn not_honoured(position: usize, product_id: &str, price_id: &str, reason: QuantityRefused) -> Issue {
    let place = format!("items[{position}].qty (product {product_id:?}, price {price_id:?})");
    if reason.is_unreadable() {
        let advice = "Correct the order in GHL and sync it again, or sync it with force=true to count it as none";
        let kept = "its line keeps the number of tickets it had, or none if it is new";
        return Issue::new("quantity_unreadable", format!("{place} {reason}: {kept}. {advice}."));
    }
    let message = format!("{place} {reason}: it gives no tickets. Correct the order in GHL and sync it again.");
    Issue::new("quantity_refused", message)
}

fn label(item: &Item) -> String {
    [&item.price_name, &item.item_name, &item.product_name]
        .into_iter()
        .flatten()
        .map(|name| name.trim())
        .find(|name| !name.is_empty())
        .map_or_else(|| DEFAULT_LABEL.to_owned(), |name| name.chars().take(MAX_LABEL_CHARS).collect())
}

/// Why a quantity gives no tickets.
#[derive(Debug, Clone, Copy, thiserror::Error, PartialEq, Eq)]
pub enum QuantityRefused {
    /// There is none.
    #[error("is missing")]
    Missing,
    /// Zero or below.
    #[error("is not positive")]
    NotPositive,
    /// 1.5 tickets.
    #[error("is not a whole number")]
    NotWhole,
    /// Neither a number nor a text that is one.
    #[error("is not a number")]
    NotANumber,
    /// More than configured.
    #[error("is over {max}")]
    TooMany {
        /// The configured maximum per line.
        max: u32,
    },
}

impl QuantityRefused {
    /// Whether nothing could be read, unlike a number that can't be honoured.
    const fn is_unreadable(self) -> bool {
        matches!(self, Self::Missing | Self::NotANumber)
    }
}

/// Reads a quantity: `2`, `2.0` and `"2"` are 2.
///
/// # Errors
/// [`QuantityRefused`] says why it entitles to nothing.
pub fn quantity(value: Option<&Value>, max: u32) -> Result<u32, QuantityRefused> {
    let number = match value {
        None | Some(Value::Null) => return Err(QuantityRefused::Missing),
        Some(Value::Number(number)) => number.as_f64().ok_or(QuantityRefused::NotANumber)?,
        Some(Value::String(text)) => text.trim().parse().map_err(|_| QuantityRefused::NotANumber)?,
        Some(_) => return Err(QuantityRefused::NotANumber),
    };
    if !number.is_finite() {
        return Err(QuantityRefused::NotANumber);
    }
    if number <= 0.0 {
        return Err(QuantityRefused::NotPositive);
    }
    if number.fract() != 0.0 {
        return Err(QuantityRefused::NotWhole);
    }
    if number > f64::from(max) {
        return Err(QuantityRefused::TooMany { max });
    }
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "whole and within 1..=max by the checks above"
    )]
    Ok(number as u32)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn quantities() {
        use QuantityRefused::{Missing, NotANumber, NotPositive, NotWhole, TooMany};
        let cases = [
            (json!(2), Ok(2)),
            (json!(2.0), Ok(2)),
            (json!("2"), Ok(2)),
            (json!(" 3 "), Ok(3)),
            (json!(1000), Ok(1000)),
            (json!(1001), Err(TooMany { max: 1000 })),
            (json!(1e21), Err(TooMany { max: 1000 })),
            (json!(0), Err(NotPositive)),
            (json!(-1), Err(NotPositive)),
            (json!(1.5), Err(NotWhole)),
            (json!("two"), Err(NotANumber)),
            (json!("NaN"), Err(NotANumber)),
            (json!("inf"), Err(NotANumber)),
            (json!([2]), Err(NotANumber)),
            (json!(null), Err(Missing)),
        ];
        for (value, expected) in cases {
            assert_eq!(quantity(Some(&value), 1000), expected, "{value}");
        }
        assert_eq!(quantity(None, 1000), Err(Missing));
    }

    fn item(product: &str, price: &str, name: &str, qty: Value) -> Item {
        let some = |text: &str| (!text.is_empty()).then(|| text.to_owned());
        Item {
            product_id: some(product),
            price_id: some(price),
            price_name: some(name),
            quantity: Some(qty),
            ..Item::default()
        }
    }

    #[test]
    fn the_same_price_twice_is_summed_and_the_same_name_under_two_products_stays_apart() {
        let (lines, issues) = lines(
            &[
                item("p1", "a", "VIP", json!(1)),
                item("p1", "a", "VIP", json!(2)),
                item("p2", "b", "VIP", json!(4)),
                item("p1", "", "Door", json!(1)),
                item("p1", "", "Late", json!(1)),
            ],
            1000,
        );
        let quantities: Vec<_> =
            lines.iter().map(|l| (l.product_id.as_str(), l.ticket_type.as_str(), l.quantity)).collect();
        let expected = [("p1", "VIP", 3), ("p2", "VIP", 4), ("p1", "Door", 1), ("p1", "Late", 1)];
        assert_eq!(quantities, expected.map(|(product, label, quantity)| (product, label, Some(quantity))));
        assert!(issues.is_empty());
        assert_eq!(ticket_quantities(&lines)["VIP"], 7);
    }

    #[test]
    fn a_bad_quantity_gives_nothing_is_reported_and_the_others_count() {
        let (lines, issues) = lines(&[item("p", "a", "VIP", json!(1.5)), item("p", "b", "Regular", json!(2))], 1000);
        assert_eq!(lines.iter().map(|l| l.quantity).collect::<Vec<_>>(), [Some(0), Some(2)]);
        assert_eq!((issues.len(), issues[0].code.as_str()), (1, "quantity_refused"));
        assert!(issues[0].message.contains("items[0].qty") && issues[0].message.contains("whole number"));
    }

    #[test]
    fn a_sum_that_is_too_much_stays_refused() {
        let parts = |price| [600, 600, 5].map(|qty| item("p", price, "VIP", json!(qty)));
        for (price, expected) in [("a", vec![Some(0)]), ("", vec![Some(0); 3])] {
            let (lines, issues) = lines(&parts(price), 1000);
            assert_eq!(lines.iter().map(|l| l.quantity).collect::<Vec<_>>(), expected);
            assert_eq!(issues.len(), 1, "{issues:?}");
        }
    }

    /// Whether they are one line or two, only the stored lines can tell.
    #[test]
    fn items_without_one_of_the_ids_stay_apart() {
        for (product, price) in [("p", ""), ("", "a"), ("", "")] {
            let (lines, _) = lines(&[1, 2].map(|qty| item(product, price, "VIP", json!(qty))), 1000);
            assert_eq!(lines.iter().map(|l| l.quantity).collect::<Vec<_>>(), [Some(1), Some(2)], "{product}/{price}");
            assert_eq!(ticket_quantities(&lines)["VIP"], 3);
        }
    }

    #[test]
    fn whether_a_label_is_the_price_s_own_name_is_told() {
        let nameless = Item { item_name: Some("Gala".into()), ..item("p", "a", " ", json!(1)) };
        let (lines, _) = lines(&[item("p", "b", "VIP", json!(1)), nameless], 1000);
        let told = lines.iter().map(|line| serde_json::to_value(line).unwrap()["price_named"].clone());
        assert_eq!(told.collect::<Vec<_>>(), [Value::Null, json!(false)], "said where it isn't");
    }

    #[test]
    fn an_unreadable_quantity_makes_its_line_unknown() {
        for unreadable in [json!(null), json!("two"), json!([2])] {
            let twice = [item("p", "a", "VIP", json!(2)), item("p", "a", "VIP", unreadable)];
            for items in [twice.clone(), [twice[1].clone(), twice[0].clone()]] {
                let (lines, issues) = lines(&items, 1000);
                assert_eq!(lines.iter().map(|l| l.quantity).collect::<Vec<_>>(), [None]);
                assert_eq!((issues.len(), issues[0].code.as_str()), (1, "quantity_unreadable"));
            }
        }
    }

    #[test]
    fn labels_fall_back_from_price_to_item_to_product_to_general() {
        let mut item = Item { product_name: Some("Gala".into()), ..Item::default() };
        assert_eq!(label(&item), "Gala");
        item.item_name = Some("Gala ticket".into());
        assert_eq!(label(&item), "Gala ticket");
        item.price_name = Some("  ".into());
        assert_eq!(label(&item), "Gala ticket");
        item.price_name = Some(" VIP ".into());
        assert_eq!(label(&item), "VIP");
        assert_eq!(label(&Item::default()), "General");
        item.price_name = Some("é".repeat(10_000));
        assert_eq!(label(&item).chars().count(), MAX_LABEL_CHARS);
    }

    mod properties {
        use proptest::prelude::*;

        use super::*;

        proptest! {
            #[test]
            fn no_line_ever_asks_for_more_than_allowed_and_lines_have_distinct_keys(
                items in prop::collection::vec((0u8..3, 0u8..3, 0u8..3, -2i64..2000), 0..30),
                max in 1u32..1500,
            ) {
                let items: Vec<_> = items
                    .iter()
                    .map(|(product, price, name, qty)| {
                        let price = if *price == 0 { String::new() } else { format!("price{price}") };
                        item(&format!("product{product}"), &price, &format!("name{name}"), json!(qty))
                    })
                    .collect();
                let (lines, _) = lines(&items, max);
                prop_assert!(lines.iter().all(|line| line.quantity.is_some_and(|quantity| quantity <= max)));
                let key = |line: &Line| {
                    let label = if line.price_id.is_empty() { line.ticket_type.clone() } else { String::new() };
                    (line.product_id.clone(), line.price_id.clone(), label)
                };
                let with_ids = lines.iter().filter(|line| line.has_ids()).count();
                let keys: std::collections::BTreeSet<_> = lines.iter().filter(|line| line.has_ids()).map(key).collect();
                prop_assert_eq!(keys.len(), with_ids);
                let total: u64 = lines.iter().filter_map(|line| line.quantity).map(u64::from).sum();
                prop_assert_eq!(ticket_quantities(&lines).values().sum::<u64>(), total);
            }
        }
    }
}

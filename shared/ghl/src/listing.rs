//! Lists: pages of orders and of products.

use domain::OrderId;
use jiff::Timestamp;
use rust_decimal::Decimal;
use serde_json::Value;

use crate::json;

/// A row of the list of orders: enough to see whether it changed, not enough to sync it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ListedOrder {
    /// Its id.
    pub id: OrderId,
    /// `altId`, when it isn't a text it is absent.
    pub location_id: Option<String>,
    /// When it last changed.
    pub updated_at: Option<Timestamp>,
    /// `status`, if the row has one.
    pub status: Option<String>,
    /// `paymentStatus`, if the row has one.
    pub payment_status: Option<String>,
    /// `amount` in major units, if the row has one that can be read.
    pub amount: Option<Decimal>,
}

/// A page of orders.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OrderPage {
    /// The rows whose id can be read.
    pub orders: Vec<ListedOrder>,
    /// Rows without a usable id.
    pub unreadable: usize,
    /// `totalCount`; 0 when absent.
    pub total: u64,
}

/// A product: what an order's line must name to be an event of ours.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Product {
    /// Its id.
    pub id: String,
    /// Its name.
    pub name: Option<String>,
    /// Its picture.
    pub image: Option<String>,
}

/// A page of products.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ProductPage {
    /// The rows whose id can be read.
    pub products: Vec<Product>,
    /// Rows on the page, readable or not.
    pub rows: usize,
    /// How many products GHL counts; `None` if it doesn't say.
    pub total: Option<u64>,
}

/// Reads a page of orders.
///
/// # Errors
/// What is missing, when this is no page.
pub fn read_orders(body: &Value) -> Result<OrderPage, &'static str> {
    let (rows, total) = json::list(body)?;
    let orders: Vec<_> = rows.iter().filter_map(read_row).collect();
    Ok(OrderPage { unreadable: rows.len() - orders.len(), orders, total })
}

fn read_row(row: &Value) -> Option<ListedOrder> {
    let id = OrderId::try_new(json::text(row, "_id")?).ok()?;
    Some(ListedOrder {
        id,
        location_id: json::text(row, "altId"),
        updated_at: json::timestamp(row, "updatedAt"),
        status: json::text(row, "status"),
        payment_status: json::text(row, "paymentStatus"),
        amount: json::decimal(row, "amount"),
    })
}

/// Reads a page of products.
///
/// # Errors
/// What is missing, when this is no page.
pub fn read_products(body: &Value) -> Result<ProductPage, &'static str> {
    let rows = body.get("products").and_then(Value::as_array).ok_or("there is no products array")?;
    let product = |row: &Value| {
        Some(Product { id: json::text(row, "_id")?, name: json::text(row, "name"), image: json::text(row, "image") })
    };
    // An array of one, `[{"total": 20}]`; of prices it is a number.
    let total = body.get("total").and_then(|total| {
        [total.pointer("/0/total"), total.get("total"), Some(total)].into_iter().flatten().find_map(Value::as_u64)
    });
    Ok(ProductPage { products: rows.iter().filter_map(product).collect(), rows: rows.len(), total })
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn orders_are_found_nested_or_not_and_a_missing_list_is_an_error() {
        let rows = json!([{"_id": "a1", "altId": "loc", "updatedAt": "2026-05-01T10:00:00Z"}, {"id": "no _id"}, 3]);
        for body in [
            json!({"data": rows, "totalCount": 9}),
            json!({"data": {"data": rows, "totalCount": 9}}),
            json!({"data": {"data": rows}, "totalCount": 9}),
        ] {
            let page = read_orders(&body).unwrap();
            assert_eq!((page.orders.len(), page.unreadable, page.total), (1, 2, 9));
            assert_eq!(page.orders[0].location_id.as_deref(), Some("loc"));
            assert_eq!((&page.orders[0].status, page.orders[0].amount), (&None, None));
        }
        for body in [json!({}), json!({"data": null}), json!({"statusCode": 500, "message": "x"}), json!([])] {
            assert!(read_orders(&body).is_err(), "{body}");
        }
    }

    #[test]
    fn a_row_shows_what_it_has_of_status_payment_status_and_amount() {
        let row = json!({"_id": "a1", "status": "completed", "paymentStatus": "paid", "amount": 150.1});
        let page = read_orders(&json!({ "data": [row] })).unwrap();
        let order = &page.orders[0];
        assert_eq!((order.status.as_deref(), order.payment_status.as_deref()), (Some("completed"), Some("paid")));
        assert_eq!(order.amount.unwrap().to_string(), "150.1");
    }

    #[test]
    fn products_need_a_list_and_an_id() {
        let page =
            read_products(&json!({"products": [{"_id": "p1", "name": "Gala"}, {}], "total": [{"total": 2}]})).unwrap();
        assert_eq!((page.products.len(), page.rows, page.total), (1, 2, Some(2)));
        assert!(read_products(&json!({"total": []})).is_err());
        for (total, read) in
            [(json!(7), Some(7)), (json!({"total": 7}), Some(7)), (json!([]), None), (json!(null), None)]
        {
            assert_eq!(read_products(&json!({"products": [], "total": total})).unwrap().total, read, "{total}");
        }
    }
}

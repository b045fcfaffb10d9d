//! Transactions: the only place that tells how much of an order was refunded.

use domain::OrderId;
use domain::refunds::Transaction;
use rust_decimal::Decimal;
use serde_json::Value;

use crate::json;

/// A page of transactions.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TransactionPage {
    /// The rows whose id can be read, those of another location left out.
    pub transactions: Vec<Transaction>,
    /// Rows on the page, readable or not.
    pub rows: u64,
    /// The first row's id.
    pub first: Option<String>,
    /// `totalCount`; 0 when absent.
    pub total: u64,
}

/// Reads a page of transactions of the location `ours`.
///
/// # Errors
/// What is missing, when this is no page.
pub fn read_transactions(body: &Value, ours: &str) -> Result<TransactionPage, &'static str> {
    let (rows, total) = json::list(body)?;
    let transactions = rows.iter().filter(|row| json::text(row, "altId").is_none_or(|location| location == ours));
    Ok(TransactionPage {
        transactions: transactions.filter_map(read_row).collect(),
        rows: rows.len() as u64,
        first: rows.first().and_then(|row| json::text(row, "_id")),
        total,
    })
}

fn read_row(row: &Value) -> Option<Transaction> {
    // What is sold by subscription or invoice names one of these.
    let is_order = json::text(row, "entityType").is_none_or(|kind| kind.eq_ignore_ascii_case("order"));
    let entity = json::text(row, "entityId").filter(|_| is_order);
    let money = |key| json::decimal(row, key).unwrap_or_default().max(Decimal::ZERO);
    Some(Transaction {
        id: json::text(row, "_id")?,
        order_id: entity.and_then(|id| OrderId::try_new(id).ok()),
        status: json::text(row, "status"),
        amount: money("amount"),
        refunded: money("amountRefunded"),
    })
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn rows_name_their_order_and_what_was_refunded_of_it() {
        let rows = json!([
            {"_id": "t1", "altId": "loc", "entityType": "order", "entityId": "order-1", "status": "succeeded", "amount": 150.1, "amountRefunded": "5.50"},
            {"_id": "t2", "entityId": "order-2", "amountRefunded": null},
            {"_id": "t3", "entityType": "invoice", "entityId": "invoice-1", "amount": 3},
            {"_id": "t4", "altId": "elsewhere", "entityId": "order-3"},
            {"_id": "t5", "entityId": "order-4", "amountRefunded": -2, "status": {"is": "an object"}},
            {"entityId": "order-5"},
        ]);
        for body in [json!({"data": rows, "totalCount": 9}), json!({"data": {"data": rows, "totalCount": 9}})] {
            let page = read_transactions(&body, "loc").unwrap();
            assert_eq!((page.rows, page.total, page.first.as_deref()), (6, 9, Some("t1")));
            let read: Vec<_> = page
                .transactions
                .iter()
                .map(|row| {
                    format!(
                        "{} {:?} {} {}",
                        row.id,
                        row.order_id.as_ref().map(OrderId::as_str),
                        row.amount,
                        row.refunded
                    )
                })
                .collect();
            assert_eq!(
                read,
                [
                    "t1 Some(\"order-1\") 150.1 5.50",
                    "t2 Some(\"order-2\") 0 0",
                    "t3 None 3 0",
                    "t5 Some(\"order-4\") 0 0"
                ]
            );
        }
        assert!(read_transactions(&json!({"message": "no list"}), "loc").is_err());
    }
}

//! Refunds: what transactions say.

use domain::refunds::{Reading, Refund, Transaction};
use domain::{Issue, OrderId, RunId};
use serde::Deserialize;
use serde_json::json;

use crate::{Database, Error, RecordedPage};

/// What was read of transactions, to record.
#[derive(Debug, Clone)]
pub struct RefundRecord<'a> {
    /// The run.
    pub run_id: &'a RunId,
    /// Where reading stands then; `None` if the same pages are to be read again.
    pub transactions: Option<&'a Reading>,
    /// The sums of the orders whose transactions were read.
    pub refunds: Vec<Refund>,
    /// What a person should look at.
    pub issues: Vec<Issue>,
}

impl Database {
    /// The stored orders of which these transactions may show another sum than the one that was acted upon.
    ///
    /// # Errors
    /// [`Error`].
    pub async fn changed_refunds(&self, transactions: &[Transaction]) -> Result<Vec<OrderId>, Error> {
        #[derive(Deserialize)]
        struct Changed {
            order_ids: Vec<OrderId>,
        }
        let transactions: Vec<_> = transactions
            .iter()
            .filter_map(|row| {
                let order_id = row.order_id.as_ref()?;
                Some(json!({ "transaction_id": row.id, "order_id": order_id, "refunded": row.refunded }))
            })
            .collect();
        let changed: Changed = self.call("changed_refunds", json!({ "transactions": transactions })).await?;
        Ok(changed.order_ids)
    }

    /// Records what was refunded of orders, and where the run's reading of transactions stands.
    ///
    /// # Errors
    /// [`Error`].
    pub async fn record_refunds(&self, record: RefundRecord<'_>) -> Result<RecordedPage, Error> {
        let RefundRecord { run_id, transactions, refunds, issues } = record;
        let request = json!({ "run_id": run_id, "transactions": transactions, "refunds": refunds, "issues": issues });
        self.call("record_refunds", request).await
    }
}

//! The filters of the list endpoints.

use std::collections::HashMap;

use serde_json::Value;

use crate::{clock, row};

/// The query of a request.
pub(crate) type Query = HashMap<String, String>;

/// Which orders a list shows. `sourceId` and `funnelProductIds` are accepted and don't filter.
#[derive(Debug, Default)]
pub(crate) struct Filter {
    status: Option<String>,
    payment_status: Option<String>,
    live: Option<bool>,
    from: Option<i64>,
    until: Option<i64>,
    search: Option<String>,
    contact_id: Option<String>,
    /// Only orders money was received for.
    received: bool,
}

/// What a filter looks at, cheap to make for an ordinary order.
pub(crate) struct Facts {
    pub(crate) created: i64,
    pub(crate) status: String,
    pub(crate) payment_status: String,
    pub(crate) live: bool,
    pub(crate) contact_id: String,
    pub(crate) name: String,
}

impl Facts {
    pub(crate) fn of(order: &Value, created: i64) -> Self {
        let text = |key: &str| order.get(key).and_then(Value::as_str).unwrap_or_default().to_owned();
        Self {
            created,
            status: text("status").to_lowercase(),
            payment_status: row::payment_status(order),
            live: order.get("liveMode").and_then(Value::as_bool).unwrap_or(true),
            contact_id: text("contactId"),
            name: format!(
                "{} {}",
                row::contact_name(order),
                order.pointer("/source/name").and_then(Value::as_str).unwrap_or_default()
            )
            .to_lowercase(),
        }
    }
}

impl Filter {
    /// Reads a query; the errors are GHL's sentences for a 422.
    pub(crate) fn read(query: &Query) -> Result<Self, Vec<String>> {
        let mut errors = Vec::new();
        let given = |key: &str| query.get(key).filter(|text| !text.is_empty());
        let lower = |key: &str| given(key).map(|text| text.to_lowercase());
        let payment_status = lower("paymentStatus");
        if let Some(status) = &payment_status
            && !["paid", "unpaid", "refunded", "partially_paid"].contains(&status.as_str())
        {
            errors.push(
                "paymentStatus must be one of the following values: paid, unpaid, refunded, partially_paid".to_owned(),
            );
        }
        let live = match lower("paymentMode").as_deref() {
            None => None,
            Some("live") => Some(true),
            Some("test") => Some(false),
            Some(_) => {
                errors.push("paymentMode must be one of the following values: live, test".to_owned());
                None
            }
        };
        let mut time = |key: &str, parse: fn(&str) -> Option<i64>| {
            let text = given(key)?;
            let time = parse(text);
            if time.is_none() {
                errors.push(format!("{key} must be a valid ISO 8601 date string"));
            }
            time
        };
        let (from, until) = (time("startAt", clock::parse), time("endAt", clock::parse_end));
        if !errors.is_empty() {
            return Err(errors);
        }
        Ok(Self {
            status: lower("status"),
            payment_status,
            live,
            from,
            until,
            search: lower("search"),
            contact_id: given("contactId").cloned(),
            received: false,
        })
    }

    /// Only orders with a transaction.
    pub(crate) fn received(self) -> Self {
        Self { received: true, ..self }
    }

    /// Lets everything through, so that nothing needs to be looked at.
    pub(crate) fn is_open(&self) -> bool {
        let texts = [&self.status, &self.payment_status, &self.search, &self.contact_id];
        let times = [&self.from, &self.until];
        !self.received
            && self.live.is_none()
            && times.iter().all(|time| time.is_none())
            && texts.iter().all(|text| text.is_none())
    }

    /// Whether the list shows a completed, live order of this time and payment status; `None` if it depends on more.
    pub(crate) fn by_time(&self, created: i64, payment_status: &str) -> Option<bool> {
        if self.search.is_some() || self.contact_id.is_some() || self.status.is_some() {
            return None;
        }
        Some(self.admits(&Facts {
            created,
            status: String::new(),
            payment_status: payment_status.to_owned(),
            live: true,
            contact_id: String::new(),
            name: String::new(),
        }))
    }

    /// Whether the list shows this order.
    pub(crate) fn admits(&self, facts: &Facts) -> bool {
        let same = |wanted: &Option<String>, found: &str| wanted.as_deref().is_none_or(|wanted| wanted == found);
        same(&self.status, &facts.status)
            && same(&self.payment_status, &facts.payment_status)
            && same(&self.contact_id, &facts.contact_id)
            && self.live.is_none_or(|live| live == facts.live)
            && self.from.is_none_or(|from| from <= facts.created)
            && self.until.is_none_or(|until| facts.created <= until)
            && self.search.as_deref().is_none_or(|wanted| facts.name.contains(wanted))
            && (!self.received || ["paid", "refunded", "partially_paid"].contains(&facts.payment_status.as_str()))
    }
}

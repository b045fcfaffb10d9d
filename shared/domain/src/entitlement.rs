//! Whether an order entitles to tickets: paid, in live mode, not marked as a test.

use crate::issue::Issue;

/// What decides entitlement, as GHL sent it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct PaymentFacts {
    /// `status` of the order, an open set.
    pub status: String,
    /// `paymentStatus`; real orders have it, webhooks and the specification don't.
    pub payment_status: Option<String>,
    /// `liveMode`; absent counts as live.
    pub live_mode: Option<bool>,
    /// `markAsTest`.
    pub mark_as_test: bool,
}

/// The decision, with its reason.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entitlement {
    /// Whether each line entitles to its quantity; else to zero.
    pub entitled: bool,
    /// A stable word: `paid`, or why not, such as `refunded`.
    pub reason: &'static str,
    /// What a person should look at.
    pub issue: Option<Issue>,
    /// Whether it was decided at all: an order with a status that this version doesn't know stays what it was found to be before.
    pub known: bool,
}

impl Entitlement {
    const fn yes() -> Self {
        Self { entitled: true, reason: "paid", issue: None, known: true }
    }

    const fn no(reason: &'static str) -> Self {
        Self { entitled: false, reason, issue: None, known: true }
    }

    /// GHL says what this version doesn't know; the reason is the issue's code as well.
    fn unknown(reason: &'static str, message: &str) -> Self {
        Self { known: false, ..Self::no(reason).with_issue(reason, message.to_owned()) }
    }

    fn with_issue(mut self, code: &str, message: String) -> Self {
        self.issue = Some(Issue::new(code, message));
        self
    }
}

/// Decides. `partially_paid_entitles` is configuration: off unless an organiser lets people in on a deposit.
#[must_use]
pub fn decide(facts: &PaymentFacts, partially_paid_entitles: bool) -> Entitlement {
    if facts.mark_as_test || facts.live_mode == Some(false) {
        return Entitlement::no("test_mode");
    }
    let status = facts.status.trim().to_lowercase();
    match status.as_str() {
        "refunded" => return Entitlement::no("refunded"),
        "cancelled" | "canceled" | "voided" | "void" => return Entitlement::no("cancelled"),
        "failed" => return Entitlement::no("payment_failed"),
        _ => {}
    }
    let partial_refund = || {
        Entitlement::yes().with_issue(
            "partial_refund",
            "The order is partially refunded: all its tickets stay. If that is what was agreed, cancel single ones by hand: POST /api/qrapp/tickets/{id}/cancel.".to_owned(),
        )
    };
    let payment =
        facts.payment_status.as_deref().map(|text| text.trim().to_lowercase()).filter(|text| !text.is_empty());
    match payment.as_deref() {
        Some("paid") if status == "partially_refunded" => partial_refund(),
        Some("paid") => Entitlement::yes(),
        Some("partially_refunded") => partial_refund(),
        Some("partially_paid") if partially_paid_entitles => Entitlement::yes(),
        Some("partially_paid") => Entitlement::no("partially_paid"),
        Some("unpaid" | "pending") => Entitlement::no("unpaid"),
        Some("refunded") => Entitlement::no("refunded"),
        Some(_) => Entitlement::unknown(
            "unknown_payment_status",
            "paymentStatus has a value this version doesn't know, so the order gives no tickets. Check the order in GHL.",
        ),
        None => match status.as_str() {
            "completed" => Entitlement::yes(),
            "partially_refunded" => partial_refund(),
            "pending" | "draft" | "unpaid" | "processing" => Entitlement::no("unpaid"),
            _ => Entitlement::unknown(
                "unknown_status",
                "GHL sent no paymentStatus and a status this version doesn't know, so the order gives no tickets. Check the order in GHL.",
            ),
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// status, paymentStatus, liveMode, markAsTest, deposit counts -> entitled, reason, reported
    type Case = (&'static str, Option<&'static str>, Option<bool>, bool, bool, (bool, &'static str, bool));

    #[test]
    fn the_table() {
        let live = Some(true);
        let table: &[Case] = &[
            ("completed", Some("paid"), live, false, false, (true, "paid", false)),
            ("Completed", Some("PAID"), None, false, false, (true, "paid", false)),
            ("pending", Some("paid"), live, false, false, (true, "paid", false)),
            ("completed", None, live, false, false, (true, "paid", false)),
            ("completed", Some(""), live, false, false, (true, "paid", false)),
            ("pending", None, live, false, false, (false, "unpaid", false)),
            ("pending", Some("unpaid"), live, false, false, (false, "unpaid", false)),
            ("completed", Some("unpaid"), live, false, false, (false, "unpaid", false)),
            ("completed", Some("partially_paid"), live, false, false, (false, "partially_paid", false)),
            ("completed", Some("partially_paid"), live, false, true, (true, "paid", false)),
            ("completed", Some("refunded"), live, false, false, (false, "refunded", false)),
            ("refunded", Some("paid"), live, false, false, (false, "refunded", false)),
            ("refunded", None, live, false, false, (false, "refunded", false)),
            ("cancelled", Some("paid"), live, false, false, (false, "cancelled", false)),
            ("canceled", Some("paid"), live, false, false, (false, "cancelled", false)),
            ("voided", None, live, false, false, (false, "cancelled", false)),
            ("failed", None, live, false, false, (false, "payment_failed", false)),
            ("partially_refunded", Some("paid"), live, false, false, (true, "paid", true)),
            ("completed", Some("partially_refunded"), live, false, false, (true, "paid", true)),
            ("completed", Some("paid"), Some(false), false, false, (false, "test_mode", false)),
            ("completed", Some("paid"), live, true, false, (false, "test_mode", false)),
            ("shipped", Some("paid"), live, false, false, (true, "paid", false)),
            ("shipped", None, live, false, false, (false, "unknown_status", true)),
            ("completed", Some("in_orbit"), live, false, false, (false, "unknown_payment_status", true)),
        ];
        for &(status, payment, live_mode, mark_as_test, deposit, (entitled, reason, reported)) in table {
            let facts = PaymentFacts {
                status: status.into(),
                payment_status: payment.map(Into::into),
                live_mode,
                mark_as_test,
            };
            let decision = decide(&facts, deposit);
            assert_eq!(
                (decision.entitled, decision.reason, decision.issue.is_some()),
                (entitled, reason, reported),
                "{facts:?}"
            );
            assert_eq!(decision.known, !reason.starts_with("unknown_"), "{facts:?}");
        }
    }
}

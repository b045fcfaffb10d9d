//! What the number of an AWS account's concurrent executions means for a deployment.

use serde::Deserialize;

/// Concurrent executions of a new account.
pub(crate) const SMALLEST: u32 = 10;
/// Must stay with the functions that have no reservation; in a smaller account all that it has.
const LEAST_UNRESERVED: u32 = 100;
/// Those for which `template.yaml` reserves on request: webhook, authorizer and gate.
const RESERVING: u32 = 3;
/// What the routes of webhooks and of scans let through in an account that is large enough.
const LARGEST_BURST: u32 = 200;
const LARGEST_RATE: u32 = 100;
const LARGEST_SCAN_RATE: u32 = 200;

/// Concurrent executions: the account's, and what of them is reserved for no function.
#[derive(Clone, Copy, Debug, Deserialize)]
pub(crate) struct Concurrency {
    pub(crate) limit: u32,
    pub(crate) unreserved: u32,
}

impl Concurrency {
    /// Of an account in which nothing is reserved.
    pub(crate) const fn of(limit: u32) -> Self {
        Self { limit, unreserved: limit }
    }

    /// The template's parameters that follow from it: half of the account for a burst of webhooks, so that the gateway's 429,
    /// after which GHL sends again, comes before Lambda's 503, after which it doesn't. Scans get a fifth: what is left is the
    /// authorizer's and that of the functions behind queues.
    pub(crate) fn parameters(self) -> [(&'static str, String); 4] {
        [
            ("WebhookBurst", (self.limit / 2).clamp(1, LARGEST_BURST).to_string()),
            ("WebhookRate", self.limit.clamp(1, LARGEST_RATE).to_string()),
            ("ScanBurst", (self.limit / 5).clamp(1, LARGEST_BURST).to_string()),
            ("ScanRate", self.limit.saturating_mul(2).clamp(1, LARGEST_SCAN_RATE).to_string()),
        ]
    }

    /// Refuses a reservation of so many executions for each of the three functions if AWS would.
    pub(crate) fn holds(self, each: u32) -> Result<(), String> {
        let wanted = each.saturating_mul(RESERVING);
        let least = LEAST_UNRESERVED.min(self.limit);
        let free = self.unreserved.saturating_sub(least);
        if wanted <= free {
            return Ok(());
        }
        let reserved = self.limit.saturating_sub(self.unreserved);
        Err(format!(
            "{wanted} executions can't be reserved ({each} for each of {RESERVING} functions): of the account's {} \
             {reserved} are reserved already, and {least} must stay unreserved; ask for more in Service Quotas",
            self.limit
        ))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn webhooks_and_scans_stay_below_the_account() {
        let limits = |account| Concurrency::of(account).parameters().map(|(_, limit)| limit);
        assert_eq!(limits(SMALLEST), ["5", "10", "2", "20"]);
        assert_eq!(limits(100), ["50", "100", "20", "200"]);
        assert_eq!(limits(1000), ["200", "100", "200", "200"]);
        assert_eq!(limits(1), ["1", "1", "1", "2"]);
    }

    #[test]
    fn a_reservation_leaves_what_aws_wants_left() {
        assert!(Concurrency::of(SMALLEST).holds(0).is_ok());
        assert!(Concurrency::of(SMALLEST).holds(1).unwrap_err().contains("10 must stay unreserved"));
        assert!(Concurrency::of(130).holds(10).is_ok());
        assert!(Concurrency::of(130).holds(11).is_err());
        let partly = Concurrency { limit: 1000, unreserved: 110 };
        assert!(partly.holds(3).is_ok());
        assert!(partly.holds(4).unwrap_err().contains("890 are reserved already"));
    }
}

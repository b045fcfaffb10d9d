//! What people do with a ticket at the gate or by hand, and what is decided about it.

use jiff::Timestamp;
use serde::Deserialize;

/// A text from outside that isn't what it should be, in words for whoever sent it.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
#[error("{0}")]
pub struct InvalidText(&'static str);

/// A text of so many characters, each of which is allowed.
fn bounded(
    text: &str,
    length: std::ops::RangeInclusive<usize>,
    allowed: impl Fn(char) -> bool,
    rule: &'static str,
) -> Result<String, InvalidText> {
    if !length.contains(&text.chars().count()) || !text.chars().all(allowed) {
        return Err(InvalidText(rule));
    }
    Ok(text.to_owned())
}

/// The name that a scanner gives to one scan, so that it can ask again if the answer was lost.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ScanId(String);

impl ScanId {
    /// Takes a text that can be one.
    ///
    /// # Errors
    /// [`InvalidText`] unless it is 8 to 64 visible ASCII characters, such as a UUID.
    pub fn try_new(text: &str) -> Result<Self, InvalidText> {
        let rule = "`scanId` must be 8 to 64 letters, digits or other visible ASCII characters, such as a UUID";
        bounded(text, 8..=64, |c| c.is_ascii_graphic(), rule).map(Self)
    }

    /// As text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// Where a scan was made, in the scanner's words.
#[derive(Clone, PartialEq, Eq)]
pub struct GateName(String);

impl GateName {
    /// Takes a text that can be one.
    ///
    /// # Errors
    /// [`InvalidText`] unless it is 1 to 64 characters without control characters.
    pub fn try_new(text: &str) -> Result<Self, InvalidText> {
        let rule = "`gate` must be 1 to 64 characters, without line breaks and other control characters";
        bounded(text.trim(), 1..=64, |c| !c.is_control(), rule).map(Self)
    }

    /// As text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// A scan that can be sent again.
pub struct Scan {
    /// Its name.
    pub id: ScanId,
    /// Where it was made.
    pub gate: Option<GateName>,
}

/// Why an admin cancels or reinstates a ticket. It can't be printed: people write about people.
#[derive(Clone, PartialEq, Eq)]
pub struct Reason(String);

impl Reason {
    /// Takes a text that can be one.
    ///
    /// # Errors
    /// [`InvalidText`] unless it is 1 to 200 characters without control characters.
    pub fn try_new(text: &str) -> Result<Self, InvalidText> {
        let rule = "`reason` must be 1 to 200 characters, without line breaks and other control characters";
        bounded(text.trim(), 1..=200, |c| !c.is_control(), rule).map(Self)
    }

    /// As text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// What was decided.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum GateResult {
    /// The ticket was admitted.
    Admitted,
    /// It had been admitted before.
    AlreadyValidated,
    /// It is cancelled.
    Cancelled,
    /// The scan was decided before, and what it did is undone or stands no more; the ticket is live.
    ScanEnded,
    /// Another ticket or user was scanned under this name.
    ScanIdReused,
    /// There is no such ticket.
    NotFound,
    /// The validation was taken back.
    Undone,
    /// There was no validation to take back.
    NotValidated,
    /// It was admitted, but not by the admission that an undo names.
    OtherAdmission,
    /// A person cancelled it, now or before.
    CancelledByHand,
    /// Sync had cancelled it: there is nothing to cancel by hand.
    CancelledBySync,
    /// An admin made it live again.
    Reinstated,
    /// It isn't cancelled: there is nothing to reinstate.
    NotCancelled,
    /// Its order has no place for it: sync would cancel it again.
    NotEntitled,
}

/// A ticket, as the gate shows it.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct GateTicket {
    /// Its number.
    pub ticket_id: i64,
    /// Its order. A text: the original app's rows aren't checked.
    pub order_id: String,
    /// Its label.
    pub ticket_type: String,
    /// Its status. A text: the original app and people write others than ours, or none.
    pub status: Option<String>,
    /// When it was admitted.
    pub validated_at: Option<Timestamp>,
    /// Why it is cancelled.
    pub reason: Option<String>,
}

/// The gate's answer.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct GateAnswer {
    /// What was decided.
    pub result: GateResult,
    /// Whether it was decided before, and this only tells it again.
    #[serde(default)]
    pub repeated: bool,
    /// The ticket, where there is one.
    pub ticket: Option<GateTicket>,
    /// Why a ticket can't be reinstated.
    #[serde(default)]
    pub why_not: Option<String>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_scan_is_named_by_8_to_64_visible_characters() {
        for good in ["12345678", "018f4e2a-7c1b-7d3e-9a52-0123456789ab", "a+/=~!#%", &"x".repeat(64)] {
            assert_eq!(ScanId::try_new(good).unwrap().as_str(), good);
        }
        for bad in ["", "1234567", " 12345678", "1234 5678", "1234567\0", "1234567\n", "Tür-12345", &"x".repeat(65)] {
            assert!(ScanId::try_new(bad).is_err(), "{bad:?}");
        }
    }

    #[test]
    fn gates_and_reasons_are_short_texts_of_one_line() {
        assert_eq!(GateName::try_new(" Tür 2 ").unwrap().as_str(), "Tür 2");
        assert_eq!(Reason::try_new(&"ü".repeat(200)).unwrap().as_str(), "ü".repeat(200));
        for bad in ["", " ", "two\nlines", "nul\0", &"ü".repeat(201)] {
            assert!(GateName::try_new(bad).is_err() && Reason::try_new(bad).is_err(), "{bad:?}");
        }
        assert!(GateName::try_new(&"g".repeat(65)).is_err());
        let rule = Reason::try_new("").err().unwrap().to_string();
        assert!(rule.starts_with("`reason` must be 1 to 200 characters"), "{rule}");
    }
}

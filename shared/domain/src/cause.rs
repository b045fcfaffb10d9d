//! Why an order is looked at: stands in messages, rows and logs.

use serde::{Deserialize, Serialize};

/// Why an order is looked at.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Cause {
    /// A webhook named it.
    Webhook,
    /// A full or incremental run listed it.
    Run,
    /// A run that only writes the list of valid orders listed it.
    ValidList,
    /// An admin had it tried again.
    Retry,
    /// An admin asked for this one order.
    Single,
    /// Its tickets were found due for reconciling.
    Due,
    /// A message about it failed permanently. Only recorded: no message has this cause.
    #[serde(skip_deserializing)]
    DeadLetter,
}

impl Cause {
    /// The word used in messages, rows and logs.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Webhook => "webhook",
            Self::Run => "run",
            Self::ValidList => "valid_list",
            Self::Retry => "retry",
            Self::Single => "single",
            Self::Due => "due",
            Self::DeadLetter => "dead_letter",
        }
    }

    /// Whether it is a run's work, which webhooks go before.
    #[must_use]
    pub const fn is_bulk(self) -> bool {
        match self {
            Self::Run | Self::ValidList | Self::Retry => true,
            Self::Webhook | Self::Single | Self::Due | Self::DeadLetter => false,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_cause_has_its_word_and_no_message_is_a_dead_letter() {
        use Cause::{DeadLetter, Due, Retry, Run, Single, ValidList, Webhook};
        let words = [
            (Webhook, "webhook"),
            (Run, "run"),
            (ValidList, "valid_list"),
            (Retry, "retry"),
            (Single, "single"),
            (Due, "due"),
            (DeadLetter, "dead_letter"),
        ];
        for (cause, word) in words {
            assert_eq!((serde_json::to_value(cause).unwrap(), cause.as_str()), (word.into(), word));
            let read = serde_json::from_value::<Cause>(word.into());
            assert_eq!(read.ok(), (cause != DeadLetter).then_some(cause), "{word}");
        }
    }
}

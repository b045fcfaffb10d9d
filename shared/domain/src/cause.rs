//! Why an order is looked at: stands in messages, rows and logs.

use std::fmt;

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
    /// A message about it failed for good. Only recorded: no message says it of itself.
    #[serde(skip_deserializing)]
    DeadLetter,
}

impl Cause {
    /// The word in messages, rows and logs.
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

impl fmt::Display for Cause {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_words_are_those_of_json() {
        use Cause::{DeadLetter, Due, Retry, Run, Single, ValidList, Webhook};
        for cause in [Webhook, Run, ValidList, Retry, Single, Due, DeadLetter] {
            assert_eq!(serde_json::to_value(cause).unwrap(), cause.as_str());
            let read = serde_json::from_value::<Cause>(cause.as_str().into());
            assert_eq!(read.ok(), (cause != DeadLetter).then_some(cause), "{cause}");
        }
    }
}

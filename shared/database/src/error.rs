//! How a call to the database fails.

use domain::FailureClass;

/// A call to a SQL function that brought no answer. Never holds a row, a request or a key.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// No answer within the time-out, or none at all.
    #[error("{function}: no answer from the database")]
    NoAnswer {
        /// The SQL function.
        function: &'static str,
        /// The cause.
        #[source]
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// PostgREST or Postgres refused.
    #[error("{function}: the database answered {status}, SQLSTATE {sqlstate}{}", hint.as_deref().map(|hint| format!(": {hint}")).unwrap_or_default())]
    Refused {
        /// The SQL function.
        function: &'static str,
        /// HTTP status.
        status: u16,
        /// SQLSTATE, or PostgREST's own code; `-` when there is none.
        sqlstate: String,
        /// What our own functions say about a bad request (SQLSTATE 22023); they name fields, never data.
        hint: Option<String>,
    },
    /// The answer isn't what the function returns: migrations and functions are of different versions.
    #[error("{function}: unexpected answer; are the migrations applied?")]
    Unexpected {
        /// The SQL function.
        function: &'static str,
        /// What didn't fit.
        #[source]
        source: serde_json::Error,
    },
    /// The key couldn't be read.
    #[error(transparent)]
    Key(#[from] settings::SettingsError),
}

impl Error {
    /// The request couldn't be made or wasn't answered. The caller takes the URL out of `source`.
    pub(crate) fn no_answer(
        function: &'static str,
        source: impl Into<Box<dyn std::error::Error + Send + Sync>>,
    ) -> Self {
        Self::NoAnswer { function, source: source.into() }
    }

    /// How the failure is treated. A database that is unreachable, busy or locked will recover; a refusal will not.
    #[must_use]
    pub fn class(&self) -> FailureClass {
        match self {
            Self::NoAnswer { .. } => FailureClass::Transient,
            Self::Refused { sqlstate, .. } if matches!(sqlstate.as_str(), "55P03" | "57014" | "40P01") => {
                FailureClass::Transient
            }
            Self::Refused { status: 401 | 403, .. } | Self::Key(_) => FailureClass::Auth,
            Self::Refused { status: 408 | 429 | 500.., sqlstate, .. } if !is_data_error(sqlstate) => {
                FailureClass::Transient
            }
            Self::Refused { .. } | Self::Unexpected { .. } => FailureClass::Permanent,
        }
    }
}

/// Classes 22 (data exception) and 23 (constraint): the same request would be refused again.
fn is_data_error(sqlstate: &str) -> bool {
    sqlstate.len() == 5 && (sqlstate.starts_with("22") || sqlstate.starts_with("23"))
}

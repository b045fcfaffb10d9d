//! How a call to GHL fails, and what that means for the order it was about.

use domain::FailureClass;

/// A call without a usable answer. The texts name the call and never hold a body, a token or a buyer's data.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// No answer: connection, TLS, time-out or a body that broke off.
    #[error("{call}: no answer from GHL")]
    NoAnswer {
        /// Which call.
        call: &'static str,
        /// The cause, without the URL.
        #[source]
        source: reqwest::Error,
    },
    /// GHL answered with an error.
    #[error("{call}: GHL answered {status}{}", trace_id.as_deref().map(|id| format!(" (traceId {id})")).unwrap_or_default())]
    Status {
        /// Which call.
        call: &'static str,
        /// HTTP status.
        status: u16,
        /// Whether the body says that the thing asked for doesn't exist.
        not_found: bool,
        /// Whether the body says that GHL ran out of time.
        timed_out: bool,
        /// GHL's own reference, for its support.
        trace_id: Option<String>,
    },
    /// A 2xx whose body isn't what was asked for.
    #[error("{call}: GHL's answer is not usable: {problem}")]
    NotWhole {
        /// Which call.
        call: &'static str,
        /// What is missing, by field name.
        problem: &'static str,
    },
}

impl Error {
    /// How the failure is treated: the one classification that all functions use.
    ///
    /// GHL answers some time-outs with 400, so that a 400 can't be classed by its code alone.
    #[must_use]
    pub const fn class(&self) -> FailureClass {
        match self {
            Self::NoAnswer { .. } | Self::NotWhole { .. } | Self::Status { timed_out: true, .. } => {
                FailureClass::Transient
            }
            Self::Status { status, .. } => match status {
                401 | 403 => FailureClass::Auth,
                408 | 429 | 500.. => FailureClass::Transient,
                _ => FailureClass::Permanent,
            },
        }
    }

    /// Whether GHL says that the order doesn't exist (404, or the 400 of its specification).
    #[must_use]
    pub const fn is_not_found(&self) -> bool {
        matches!(self, Self::Status { not_found: true, .. })
    }

    /// Whether GHL refused the parameters (422), such as a page size.
    #[must_use]
    pub const fn is_refused_parameter(&self) -> bool {
        matches!(self, Self::Status { status: 422, .. })
    }

    /// A stable code for reports.
    #[must_use]
    pub const fn code(&self) -> &'static str {
        match self {
            Self::Status { not_found: true, .. } => "order_not_found",
            Self::Status { status: 401 | 403, .. } => "ghl_unauthorized",
            Self::Status { status: 429, .. } => "ghl_rate_limited",
            Self::NotWhole { .. } => "ghl_answer_not_usable",
            Self::NoAnswer { .. } => "ghl_unavailable",
            Self::Status { .. } if matches!(self.class(), FailureClass::Transient) => "ghl_unavailable",
            Self::Status { .. } => "ghl_refused",
        }
    }
}

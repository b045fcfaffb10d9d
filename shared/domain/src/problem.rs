//! What keeps the whole system from working, described for an admin.

use std::time::Duration;

use serde::Serialize;

/// How long no rate limit grant must have arrived in time before that is reported as a problem.
pub const LATE_FOR_TOO_LONG: Duration = Duration::from_secs(60);

/// Something that an admin should know wherever the status is shown.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Problem {
    /// A stable code.
    pub code: &'static str,
    /// What is wrong, and what to do.
    pub message: String,
}

impl Problem {
    /// The database answers so slowly that each permission to call GHL has run out when it arrives. `None` before
    /// [`LATE_FOR_TOO_LONG`].
    #[must_use]
    pub fn database_too_slow(late_for: Duration) -> Option<Self> {
        if late_for < LATE_FOR_TOO_LONG {
            return None;
        }
        let minutes = late_for.as_secs() / 60;
        let ago = if minutes == 1 { "a minute".to_owned() } else { format!("{minutes} minutes") };
        Some(Self {
            code: "database_too_slow",
            message: format!(
                "Nothing can be fetched from GoHighLevel: for {ago} the database has answered too slowly to share its rate limit. \
                 Check the Supabase project's region and load."
            ),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_slow_database_is_a_problem_after_a_minute() {
        let message = |seconds| Problem::database_too_slow(Duration::from_secs(seconds)).map(|problem| problem.message);
        assert_eq!(message(59), None);
        assert!(message(60).unwrap().contains("for a minute the database"));
        assert!(message(185).unwrap().contains("for 3 minutes the database"));
    }
}

//! What was to be reached, and what was.

/// A figure beside its goal.
pub(crate) struct Goal {
    what: String,
    measured: String,
    goal: String,
    is_met: bool,
    /// What is known of why it is missed, where it is.
    why: String,
}

impl Goal {
    /// A figure that is at most this, both with so many decimals.
    pub(crate) fn at_most(what: impl Into<String>, measured: f64, goal: f64, decimals: usize, unit: &str) -> Self {
        Self {
            what: what.into(),
            measured: format!("{measured:.decimals$}{unit}"),
            goal: format!("<= {goal:.decimals$}{unit}"),
            // What is shown is what counts; what couldn't be measured is no success.
            is_met: rounded(measured, decimals) <= rounded(goal, decimals),
            why: String::new(),
        }
    }

    /// A figure that is at least this.
    pub(crate) fn at_least(what: impl Into<String>, measured: f64, goal: f64, decimals: usize, unit: &str) -> Self {
        let is_met = rounded(measured, decimals) >= rounded(goal, decimals);
        let goal = format!(">= {goal:.decimals$}{unit}");
        Self { goal, is_met, ..Self::at_most(what, measured, 0.0, decimals, unit) }
    }

    /// What is to be said if it is missed.
    pub(crate) fn because(mut self, why: impl Into<String>) -> Self {
        self.why = why.into();
        self
    }

    /// A row of the table of goals.
    pub(crate) fn row(&self) -> Vec<String> {
        let told = match (self.is_met, self.why.as_str()) {
            (true, _) => "met".to_owned(),
            (false, "") => "**missed**".to_owned(),
            (false, why) => format!("**missed**: {why}"),
        };
        vec![self.what.clone(), self.measured.clone(), self.goal.clone(), told]
    }
}

fn rounded(value: f64, decimals: usize) -> f64 {
    format!("{value:.decimals$}").parse().unwrap_or(f64::NAN)
}

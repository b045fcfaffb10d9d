//! When the functions ran, as the local cloud notes it: what AWS bills, and how many ran at the same time.

use serde::Deserialize;

use crate::stack::Stack;

/// An execution of a function. Times are seconds since the epoch.
#[derive(Clone, Debug, Deserialize, PartialEq)]
pub struct Invocation {
    /// The function, by its spoken name.
    pub function: String,
    /// When it began; the start of its process is part of it.
    pub started: f64,
    /// When it ended; `None` while it runs.
    pub ended: Option<f64>,
}

#[derive(Deserialize)]
struct Noted {
    invocations: Vec<Invocation>,
}

fn url(stack: &Stack) -> String {
    format!("{}/_local/invocations", stack.aws_endpoint_url)
}

/// All since they were forgotten last.
pub async fn noted(stack: &Stack) -> Vec<Invocation> {
    let answer = crate::http().get(url(stack)).send().await.expect("the local cloud answers");
    let noted: Noted = answer.json().await.expect("the invocations");
    let spoken = |name: &str| stack.functions.iter().find(|(_, of_aws)| *of_aws == name).map(|(spoken, _)| spoken);
    noted
        .invocations
        .into_iter()
        .filter_map(|invocation| Some(Invocation { function: spoken(&invocation.function)?.clone(), ..invocation }))
        .collect()
}

/// Forgets those that have ended.
pub async fn forget(stack: &Stack) {
    crate::http().delete(url(stack)).send().await.expect("the local cloud answers");
}

/// Seconds that invocations had within a time.
#[must_use]
pub fn seconds_within<'a>(invocations: impl IntoIterator<Item = &'a Invocation>, from: f64, to: f64) -> f64 {
    let within =
        |invocation: &Invocation| (invocation.ended.unwrap_or(to).min(to) - invocation.started.max(from)).max(0.0);
    invocations.into_iter().map(within).sum()
}

/// How many there were at the same time at most.
#[must_use]
pub fn most_at_once<'a>(invocations: impl IntoIterator<Item = &'a Invocation>, from: f64, to: f64) -> usize {
    let mut changes: Vec<(f64, i64)> = Vec::new();
    for invocation in invocations {
        let (began, ended) = (invocation.started.max(from), invocation.ended.unwrap_or(to).min(to));
        if began < ended {
            changes.extend([(began, 1), (ended, -1)]);
        }
    }
    // At the same moment one ends before the next begins.
    changes.sort_by(|a, b| a.0.total_cmp(&b.0).then(a.1.cmp(&b.1)));
    let mut running = 0;
    let most = changes.into_iter().map(|(_, change)| {
        running += change;
        running
    });
    usize::try_from(most.max().unwrap_or(0)).expect("none ends before it began")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ran(started: f64, ended: Option<f64>) -> Invocation {
        Invocation { function: "tickets".to_owned(), started, ended }
    }

    #[test]
    fn seconds_are_those_within_the_time() {
        let all = [ran(0.0, Some(4.0)), ran(9.0, None), ran(20.0, Some(21.0))];
        assert_eq!(seconds_within(&all, 1.0, 10.0), 4.0);
        assert_eq!(seconds_within(&all, 0.0, 30.0), 4.0 + 21.0 + 1.0);
    }

    #[test]
    fn the_most_at_once_counts_what_overlaps() {
        let all = [ran(0.0, Some(4.0)), ran(4.0, Some(6.0)), ran(3.0, Some(5.0)), ran(5.5, None)];
        assert_eq!(most_at_once(&all, 0.0, 10.0), 2);
        assert_eq!(most_at_once(&all, 4.5, 5.2), 2);
        assert_eq!(most_at_once(&all[..2], 0.0, 10.0), 1);
        assert_eq!(most_at_once(&[], 0.0, 10.0), 0);
    }
}

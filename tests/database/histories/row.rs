//! What the order's row should be: the rules for reads, told without looking at how the database does it.

use std::collections::BTreeMap;

use super::ghl::{Line, Payment, Read};

/// Seconds after which even an older updatedAt is believed.
pub(super) const PATIENCE: u32 = 15 * 60;

#[derive(Debug, Default)]
pub(super) struct Row {
    /// None: no such row.
    stored: Option<Stored>,
}

#[derive(Debug, Default)]
struct Stored {
    /// None: a row of the original app, not fetched yet.
    version: Option<Version>,
    /// None: never read.
    lines: Option<Vec<Line>>,
    /// What the original app counted for each label.
    original_quantities: BTreeMap<&'static str, u32>,
}

#[derive(Debug)]
struct Version {
    stamp: Option<u32>,
    /// The newest read that became or agreed with this row.
    read_at: u32,
    payment: Payment,
}

enum Age {
    Newer,
    Overruling,
    Stale,
}

impl Row {
    pub(super) fn of_the_original_app(original_quantities: BTreeMap<&'static str, u32>) -> Self {
        Self { stored: Some(Stored { original_quantities, ..Stored::default() }) }
    }

    /// None while nothing is known about them.
    pub(super) fn lines(&self) -> Option<&[Line]> {
        self.stored.as_ref()?.lines.as_deref()
    }

    /// Tickets that a line of the row gives.
    pub(super) fn entitled(&self, line: &Line) -> u32 {
        let version = self.stored.as_ref().and_then(|stored| stored.version.as_ref());
        let paid = version.is_some_and(|version| version.payment == Payment::Paid);
        if paid { line.quantity.unwrap_or(0) } else { 0 }
    }

    /// Whether it tells just what this read does.
    pub(super) fn is_as_in(&self, read: &Read) -> bool {
        let version = self.stored.as_ref().and_then(|stored| stored.version.as_ref());
        self.lines() == Some(&read.lines) && version.is_some_and(|version| version.payment == read.payment)
    }

    /// Takes the read in. Says what the upsert must answer: its result and the codes of its issues.
    pub(super) fn upsert(&mut self, read: &Read) -> (&'static str, Vec<&'static str>) {
        if !read.valid && (read.remember_only || self.stored.is_none()) {
            return ("skipped", Vec::new());
        }
        if read.remember_only {
            return ("unchanged", Vec::new());
        }
        let is_new = self.stored.is_none();
        let stored = self.stored.get_or_insert_default();
        let mut issues = Vec::new();
        let read_at = match (stored.age(read), &stored.version) {
            (Age::Stale, _) => return ("stale", issues),
            (_, None) => read.at,
            (_, Some(version)) => version.read_at.max(read.at),
        };
        let keeps_lines = !is_new && stored.keeps_lines(read);
        let lines = if keeps_lines { stored.lines.clone() } else { Some(stored.settled_lines(read)) };
        if keeps_lines && read.payment == Payment::Paid {
            issues.push("lines_unreadable");
        }
        if matches!(stored.age(read), Age::Overruling) {
            issues.push("older_version_applied");
        }
        let is_same = |version: &Version| (version.stamp, version.payment) == (read.stamp, read.payment);
        let unchanged = stored.version.as_ref().is_some_and(is_same) && stored.lines == lines;
        stored.version = Some(Version { stamp: read.stamp, read_at, payment: read.payment });
        stored.lines = lines;
        (if unchanged { "unchanged" } else { "written" }, issues)
    }
}

impl Stored {
    fn age(&self, read: &Read) -> Age {
        let Some(version) = &self.version else { return Age::Newer };
        let newer = match (read.stamp, version.stamp) {
            (None, Some(_)) => return Age::Stale,
            (Some(_), None) => true,
            (ours, theirs) => ours > theirs || ours == theirs && read.at >= version.read_at,
        };
        if newer {
            Age::Newer
        } else if read.stamp < version.stamp && read.at > version.read_at + PATIENCE {
            Age::Overruling
        } else {
            Age::Stale
        }
    }

    /// Nobody's tickets vanish because something couldn't be read, unless an admin insists.
    fn keeps_lines(&self, read: &Read) -> bool {
        let has_something_to_keep = match &self.lines {
            None => read.payment == Payment::Paid,
            Some(lines) => !lines.is_empty(),
        };
        !read.force && read.lines.is_empty() && has_something_to_keep
    }

    /// The lines as read; a quantity that couldn't be read stays what it was.
    fn settled_lines(&self, read: &Read) -> Vec<Line> {
        let known = |line: &Line| match &self.lines {
            _ if read.force => None,
            None => self.original_quantities.get(line.label).copied(),
            Some(lines) => lines.iter().find(|stored| stored.key() == line.key()).and_then(|stored| stored.quantity),
        };
        let settle = |line: &Line| {
            let quantity = line.quantity.or_else(|| known(line)).unwrap_or(0);
            Line { quantity: Some(quantity), ..line.clone() }
        };
        read.lines.iter().map(settle).collect()
    }
}

//! The table of results, and the plot of orders over time.

use std::fmt::Write as _;
use std::fs;
use std::path::PathBuf;
use std::process::Command;

use crate::goals::Goal;

/// What became of a part.
pub(crate) enum Fate {
    NotYet,
    Measured,
    /// It failed, and why.
    Failed(String),
    /// It took longer than so many minutes.
    GivenUp(u64),
}

/// Grows by sections, in the order in which they were measured. Written after each part, so that what was measured stays.
pub(crate) struct Report {
    head: String,
    goals: Vec<Goal>,
    sections: String,
    parts: Vec<(&'static str, Fate)>,
}

/// Where results are written.
pub(crate) fn directory() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("bench")
}

impl Report {
    pub(crate) fn new(parts: &[&'static str]) -> Self {
        let cpu = fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
        let model = cpu.lines().find_map(|line| line.strip_prefix("model name")).unwrap_or(": unknown");
        let cores = std::thread::available_parallelism().map_or(0, usize::from);
        let date = jiff::Timestamp::now().strftime("%Y-%m-%d");
        let rustc = Command::new("rustc").arg("--version").output().map(|said| said.stdout).unwrap_or_default();
        let rustc = String::from_utf8_lossy(&rustc);
        let head = format!(
            "# What a sync takes\n\nWritten by `cargo xtask bench` on {date}: ghl-sync {}, {}, {cores} cores ({}), everything on one machine: \
             the local cloud with ten concurrent executions, Postgres, PostgREST, the fake GHL and this measurement. GHL answers after {} ms in \
             the median with a long tail, the database's door is {} ms away unless it is said. Times are of a shared machine: read the ratios.\n",
            env!("CARGO_PKG_VERSION"),
            rustc.trim(),
            model.trim_start_matches([':', ' ', '\t']),
            crate::GHL_LATENCY_MS,
            crate::DATABASE_LATENCY_MS,
        );
        let parts = parts.iter().map(|part| (*part, Fate::NotYet)).collect();
        Self { head, goals: Vec::new(), sections: String::new(), parts }
    }

    pub(crate) fn goal(&mut self, goal: Goal) {
        println!("goal: {}", goal.row().join(" | "));
        self.goals.push(goal);
    }

    pub(crate) fn section(&mut self, title: &str, text: &str, columns: &[&str], rows: Vec<Vec<String>>) {
        self.sections.push_str(&format!("\n## {title}\n\n{text}\n\n"));
        table(&mut self.sections, columns, rows);
    }

    pub(crate) fn note(&mut self, part: &str, fate: Fate) {
        if let Some((_, noted)) = self.parts.iter_mut().find(|(name, _)| *name == part) {
            *noted = fate;
        }
    }

    /// Whether each part was measured.
    pub(crate) fn is_whole(&self) -> bool {
        self.parts.iter().all(|(_, fate)| matches!(fate, Fate::Measured))
    }

    fn text(&self) -> String {
        let mut text = self.head.clone();
        if !self.is_whole() {
            text.push_str("\n**This is not a whole run.** Missing:\n\n");
            for (part, fate) in &self.parts {
                let what = match fate {
                    Fate::Measured => continue,
                    Fate::NotYet => "not measured".to_owned(),
                    Fate::Failed(why) => format!("failed: {why}"),
                    Fate::GivenUp(minutes) => format!("given up after {minutes} minutes"),
                };
                writeln!(text, "- `{part}`: {what}").expect("a text takes anything");
            }
        }
        text.push_str("\n![Orders over time](orders.svg)\n\n## Goals\n\n");
        text.push_str(
            "T100 = latency + 10 s x floor((calls - 1) / 100): the shortest time in which GHL allows the calls.\n\n",
        );
        table(&mut text, &["figure", "measured", "goal", ""], self.goals.iter().map(Goal::row).collect());
        text.push_str(&self.sections);
        text
    }

    pub(crate) fn print(&self) {
        println!("{}", self.text());
    }

    pub(crate) fn write(&self) {
        fs::write(directory().join("RESULTS.md"), self.text()).expect("the results can be written");
    }
}

fn table(text: &mut String, columns: &[&str], rows: Vec<Vec<String>>) {
    let mut write = |line: String| writeln!(text, "{line}").expect("a text takes anything");
    write(format!("| {} |", columns.join(" | ")));
    write(format!("|{}", "---|".repeat(columns.len())));
    for row in rows {
        write(format!("| {} |", row.join(" | ")));
    }
}

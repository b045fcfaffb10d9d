//! What the database answered.

use serde_json::Value;

use super::scans::Kind;
use super::{History, Phase};
use crate::histories::ghl::Read;

impl History {
    pub(in crate::histories) fn upserted(&mut self, read: &Read, answer: &Value) -> Result<(), String> {
        let codes = answer["issues"].as_array().map(Vec::as_slice).unwrap_or_default();
        let codes: Vec<_> = codes.iter().filter_map(|issue| issue["code"].as_str()).collect();
        let (result, issues) = self.row.upsert(read);
        self.note(result, format!(": upsert of the read at {}, answered {} {codes:?}", read.at, answer["result"]));
        if self.forgotten {
            let met = if result == "written" { "written without its buyer" } else { "compared without its buyer" };
            *self.met.entry(met).or_default() += 1;
        }
        for issue in &issues {
            *self.met.entry(issue).or_default() += 1;
        }
        // A read that writes nothing says nothing of importance.
        let is_applied = ["written", "unchanged"].contains(&result) && !read.remember_only;
        if answer["result"] == result && (!is_applied || codes == issues) {
            return Ok(());
        }
        Err(format!("the upsert should answer {result} {issues:?}"))
    }

    pub(in crate::histories) fn reconciled(&mut self, answer: Option<&Value>) {
        let count = |key: &str| answer.and_then(|answer| answer[key].as_i64()).unwrap_or(0);
        let counts = ["added", "reinstated", "cancelled", "relabelled", "over_validated"].map(|key| (key, count(key)));
        for (key, count) in counts {
            *self.met.entry(key).or_default() += u64::try_from(count).unwrap_or(0);
        }
        self.note("reconciled", format!(": {counts:?}"));
    }

    /// What breaks the promise must be due.
    pub(in crate::histories) fn dispatched(&mut self, due: bool, out_of_step: Option<&Value>) -> Result<(), String> {
        self.note(if due { "due" } else { "not due" }, "");
        self.not_due = !due;
        match out_of_step {
            Some(line) if !due => return Err(format!("out of step and not due: {line}")),
            _ if due => {}
            _ if matches!(self.phase, Phase::Pulses(_)) => self.phase = Phase::AtRest,
            _ => {}
        }
        Ok(())
    }

    pub(in crate::histories) fn scanned(
        &mut self,
        ticket: i32,
        scan_id: Option<&str>,
        answer: &Value,
    ) -> Result<(), String> {
        let number = self.tickets.number(ticket);
        let kind = scan_id.map(|id| self.scans.told(id, ticket, answer)).transpose()?.unwrap_or(Kind::New);
        match kind {
            Kind::New => {}
            Kind::Again => self.note("told again", format!(" of {number}")),
            Kind::Used => self.note("a used scan", format!(" of {number}: {}", answer["result"])),
            Kind::Reused => self.note("another ticket's scan", format!(" of {number}")),
        }
        if kind != Kind::New {
            return Ok(());
        }
        match answer["result"].as_str() {
            Some("admitted") => {
                self.note("admitted", format!(" {number}"));
                self.tickets.hold(ticket, Some("validated"));
                self.admitted = Some(ticket);
            }
            Some("undone") => {
                self.note("undone", format!(" {number}"));
                self.tickets.hold(ticket, None);
                self.scans.touched(ticket);
            }
            Some("already_validated") => self.note("a second scan", format!(" of {number}")),
            Some("cancelled") => self.note("refused", format!(" {number}")),
            Some("not_validated") => self.note("nothing to undo", format!(" of {number}")),
            _ => return Err(format!("the gate answered {answer}")),
        }
        Ok(())
    }

    /// What an admin cancels or reinstates by hand.
    pub(in crate::histories) fn done_by_hand(&mut self, ticket: i32, answer: &Value) -> Result<(), String> {
        let number = self.tickets.number(ticket);
        let held = self.tickets.held(ticket).map(str::to_owned);
        let (result, repeated) = (answer["result"].as_str().unwrap_or_default(), answer["repeated"] == true);
        let (what, right) = match (result, repeated) {
            ("cancelled_by_hand", false) => ("cancelled by hand", held.as_deref() != Some("cancelled")),
            ("cancelled_by_hand", true) => ("cancelled by hand again", held.as_deref() == Some("cancelled")),
            ("already_validated", _) => ("cancelling an admitted ticket", held.is_some()),
            ("cancelled_by_sync", _) => ("cancelling what sync cancelled", held.is_none()),
            ("reinstated", false) => ("reinstated by hand", held.as_deref() == Some("cancelled")),
            ("reinstated", true) => ("reinstated by hand again", held.is_none()),
            ("not_entitled", _) => ("no place to reinstate", true),
            ("not_cancelled", _) => ("nothing to reinstate", held.as_deref() != Some("cancelled")),
            _ => return Err(format!("by hand: {answer}")),
        };
        self.note(what, format!(": {number}"));
        match result {
            "cancelled_by_hand" => self.tickets.hold(ticket, Some("cancelled")),
            "reinstated" => self.tickets.hold(ticket, None),
            _ => {}
        }
        if ["reinstated", "not_entitled"].contains(&result) {
            self.reinstated = Some((ticket, result == "reinstated"));
        }
        if right { Ok(()) } else { Err(format!("{what}, but it was held as {held:?}")) }
    }
}

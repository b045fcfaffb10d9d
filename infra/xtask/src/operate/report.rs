//! What a command that checks has found.

/// What is right in words, or what is wrong and what to do.
pub(crate) type Verdict = Result<String, String>;

/// Says each finding at once, and counts what is wrong.
#[derive(Default)]
pub(crate) struct Report {
    pub(crate) wrong: usize,
}

impl Report {
    pub(crate) fn add(&mut self, item: &str, verdict: Verdict) -> bool {
        match verdict {
            Ok(right) => {
                println!("  ok     {item:<12} {right}");
                true
            }
            Err(wrong) => {
                self.wrong += 1;
                println!("  WRONG  {item:<12} {wrong}");
                false
            }
        }
    }

    /// What isn't wrong yet and mustn't stay.
    pub(crate) fn warn(item: &str, what: &str) {
        println!("  OPEN   {item:<12} {what}");
    }
}

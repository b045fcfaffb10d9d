//! Questions to whoever sits at the terminal.

use std::io::{IsTerminal, Write, stdin, stdout};

use anyhow::{Context, Result, bail};

use crate::operate::secret::Secret;
use crate::stop;

/// Whether there is somebody to ask.
pub(crate) fn somebody() -> bool {
    stdin().is_terminal() && stdout().is_terminal()
}

/// A line; empty if nothing was typed.
pub(crate) fn line(question: &str) -> Result<String> {
    print!("{question}: ");
    stdout().flush()?;
    let mut answer = String::new();
    if stdin().read_line(&mut answer).context("can't read the answer")? == 0 {
        bail!("there was no answer");
    }
    typed(answer)
}

/// The same without showing it.
pub(crate) fn secret(question: &str) -> Result<Secret> {
    let answer = rpassword::prompt_password(format!("{question} (hidden): ")).context("can't read the answer")?;
    typed(answer).map(Secret::new)
}

/// True for yes; anything else is no.
pub(crate) fn yes(question: &str) -> Result<bool> {
    let answer = line(&format!("{question} [y/N]"))?;
    Ok(matches!(answer.to_lowercase().as_str(), "y" | "yes"))
}

/// With `--yes`, goes on; else asks, or says what is needed where nobody can answer.
pub(crate) fn confirmed(yes_given: bool, question: &str) -> Result<bool> {
    agreed(yes_given, question, "--yes, or --dry-run to look only")
}

/// The same for a command that takes these options instead.
pub(crate) fn agreed(yes_given: bool, question: &str, options: &str) -> Result<bool> {
    if yes_given {
        return Ok(true);
    }
    if !somebody() {
        bail!("nobody is there to confirm: give {options}");
    }
    yes(question)
}

/// A question only ends with Enter; Ctrl-C before that counts.
fn typed(answer: String) -> Result<String> {
    if stop::requested() {
        bail!("interrupted");
    }
    Ok(answer.trim().to_owned())
}

//! `cargo xtask`, as an operator runs it: the program that `XTASK` names, else what cargo builds.

use std::{env, process::Stdio};

use tokio::process::Command;

use crate::project;

/// The command, to which its arguments are added. It ends with its handle.
pub fn xtask() -> Command {
    let mut command = match env::var_os("XTASK") {
        Some(program) => Command::new(program),
        None => {
            let mut cargo = Command::new("cargo");
            cargo.args(["run", "--locked", "--quiet", "--package", "xtask", "--"]).current_dir(project(""));
            cargo
        }
    };
    command.stdin(Stdio::null()).kill_on_drop(true);
    command
}

/// What a command printed, and whether it succeeded.
pub struct Said {
    /// Whether its exit status was 0.
    pub succeeded: bool,
    /// Standard output, then standard error.
    pub text: String,
}

impl Said {
    /// Runs a command to its end.
    pub async fn by(mut command: Command) -> Self {
        let output = command.output().await.expect("xtask runs");
        let text = [output.stdout, output.stderr].map(|bytes| String::from_utf8(bytes).unwrap()).concat();
        Self { succeeded: output.status.success(), text }
    }

    /// It succeeded or didn't, as expected, and printed all these words.
    #[track_caller]
    pub fn says(&self, succeeded: bool, words: &[&str]) {
        assert_eq!(self.succeeded, succeeded, "{}", self.text);
        for words in words {
            assert!(self.text.contains(words), "{words:?} isn't in:\n{}", self.text);
        }
    }
}

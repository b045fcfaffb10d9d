//! Shows what is going on: a spinner with the time on a terminal, plain lines elsewhere.

use std::io::IsTerminal;
use std::sync::LazyLock;
use std::time::{Duration, Instant};

use indicatif::{MultiProgress, ProgressBar, ProgressStyle};

/// How often a long step says in a log that it is still at it.
const STILL_EVERY: Duration = Duration::from_secs(30);

/// Steps that go on at the same time have a line each.
static SPINNERS: LazyLock<MultiProgress> = LazyLock::new(MultiProgress::new);

/// Prints a line of results, between the spinners of what still goes on.
pub(crate) fn tell(line: &str) {
    SPINNERS.suspend(|| println!("{line}"));
}

/// A piece of work that may take longer than a glance.
pub(crate) struct Step {
    name: String,
    started: Instant,
    last_line: Instant,
    spinner: Option<ProgressBar>,
}

impl Step {
    pub(crate) fn start(name: &str) -> Self {
        let now = Instant::now();
        let spinner = std::io::stderr().is_terminal().then(|| {
            let spinner = SPINNERS.add(ProgressBar::new_spinner().with_prefix(name.to_owned()));
            if let Ok(style) = ProgressStyle::with_template("{spinner} {prefix} ({elapsed}) {wide_msg:.dim}") {
                spinner.set_style(style);
            }
            spinner.enable_steady_tick(Duration::from_millis(120));
            spinner
        });
        if spinner.is_none() {
            eprintln!("{name} ...");
        }
        Self { name: name.to_owned(), started: now, last_line: now, spinner }
    }

    /// What the step is doing right now.
    pub(crate) fn note(&mut self, note: &str) {
        match &self.spinner {
            Some(spinner) => spinner.set_message(note.to_owned()),
            None if self.last_line.elapsed() >= STILL_EVERY => {
                let short: String = note.chars().take(100).collect();
                eprintln!("  {}, {} s: {short}", self.name, self.started.elapsed().as_secs());
                self.last_line = Instant::now();
            }
            None => {}
        }
    }

    pub(crate) fn done(self) {
        let took = self.started.elapsed().as_secs_f64();
        if let Some(spinner) = &self.spinner {
            spinner.finish_and_clear();
        }
        SPINNERS.suspend(|| eprintln!("✓ {} ({took:.1} s)", self.name));
    }
}

impl Drop for Step {
    fn drop(&mut self) {
        if let Some(spinner) = self.spinner.take() {
            spinner.finish_and_clear();
        }
    }
}

/// Orders done of orders known, with the time left.
pub(crate) struct OrderBar {
    bar: Option<ProgressBar>,
    last_line: Instant,
}

impl OrderBar {
    pub(crate) fn start() -> Self {
        let bar = std::io::stderr().is_terminal().then(|| {
            let bar = ProgressBar::new(0);
            let style = ProgressStyle::with_template("{prefix:8} [{bar:40}] {pos}/{len} orders, {msg}");
            if let Ok(style) = style {
                bar.set_style(style.progress_chars("=> "));
            }
            bar.enable_steady_tick(Duration::from_millis(250));
            bar
        });
        Self { bar, last_line: Instant::now() }
    }

    pub(crate) fn show(&mut self, state: &str, done: u64, total: u64, note: &str) {
        match &self.bar {
            Some(bar) => {
                bar.set_prefix(state.to_owned());
                bar.set_length(total);
                bar.set_position(done);
                bar.set_message(note.to_owned());
            }
            None if self.last_line.elapsed() >= Duration::from_secs(2) => {
                eprintln!("  {state}: {done}/{total} orders, {note}");
                self.last_line = Instant::now();
            }
            None => {}
        }
    }

    pub(crate) fn finish(self) {
        if let Some(bar) = self.bar {
            bar.finish_and_clear();
        }
    }
}

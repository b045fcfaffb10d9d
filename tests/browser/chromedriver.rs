//! The chromedriver that all tests share: started for the first of them, and again where it has ended.
//!
//! A test's runtime ends with the test, so the driver is a process of the standard library's, and a thread hears what it says.

use std::{
    collections::VecDeque,
    env,
    ffi::OsString,
    fmt::Write as _,
    io::{self, BufRead as _, BufReader, PipeReader},
    process::{Child, Command, Stdio},
    sync::{Arc, Mutex, mpsc},
    thread,
    time::{Duration, Instant},
};

use tokio::time::sleep;

pub(crate) const INSTALL: &str = "Install Chromium and its driver: apt-get install chromium chromium-driver";
/// Now and then one ends before it listens.
const STARTED_AGAIN: usize = 3;
const LISTENS_WITHIN: Duration = Duration::from_secs(30);
/// Between the end of its connections and its own.
const ENDS_WITHIN: Duration = Duration::from_secs(1);
const LOOK_EVERY: Duration = Duration::from_millis(20);
const KEPT_LINES: usize = 100;

/// How to start a driver, and the one that runs.
pub(crate) struct Chromedriver {
    command: Vec<OsString>,
    running: Option<Running>,
}

/// Killed with its handle.
struct Running {
    process: Child,
    said: Arc<Mutex<Said>>,
}

#[derive(Default)]
struct Said {
    /// The last ones, of both its outputs.
    lines: VecDeque<String>,
    port: Option<u16>,
    is_over: bool,
}

impl Chromedriver {
    /// The one that `CHROMEDRIVER` names, or that of the PATH.
    pub(crate) fn installed() -> Self {
        let program = env::var_os("CHROMEDRIVER").unwrap_or_else(|| "chromedriver".into());
        Self { command: vec![program, "--port=0".into()], running: None }
    }

    /// Where it listens. One that has ended is started again, and what it said is printed.
    pub(crate) async fn url(&mut self) -> String {
        if let Some(end) = self.end() {
            eprintln!("{end}");
            self.running = None;
        }
        let mut again = 0..STARTED_AGAIN;
        loop {
            if let Some(port) = self.running.as_ref().and_then(|running| running.said.lock().unwrap().port) {
                return format!("http://127.0.0.1:{port}");
            }
            match Running::start(&self.command).await {
                Ok(running) => self.running = Some(running),
                Err(why) if again.next().is_some() => eprintln!("{why}\nIt is started again."),
                Err(why) => panic!("{why}\n{INSTALL}"),
            }
        }
    }

    /// How it ended and what it said last, if it has ended.
    pub(crate) fn end(&mut self) -> Option<String> {
        let running = self.running.as_mut()?;
        let status = running.process.try_wait().unwrap()?;
        Some(format!("chromedriver has ended ({status}){}", running.words()))
    }

    /// The same for one whose connections have just ended.
    pub(crate) async fn end_soon(&mut self) -> Option<String> {
        let begun = Instant::now();
        while self.end().is_none() && begun.elapsed() < ENDS_WITHIN {
            sleep(LOOK_EVERY).await;
        }
        self.end()
    }

    /// How it is and what it said last, for a failure.
    pub(crate) fn account(&mut self) -> String {
        let words = self.running.as_ref().map(Running::words).unwrap_or_default();
        self.end().unwrap_or_else(|| format!("chromedriver runs{words}"))
    }

    /// After a test: where nothing would end the driver with the tests, it ends now.
    pub(crate) fn rest(&mut self) {
        if !can_be_tied() {
            self.running = None;
        }
    }
}

impl Running {
    /// One that listens, or why there is none.
    async fn start(command: &[OsString]) -> Result<Self, String> {
        let mut running =
            Self::spawn(command.to_vec()).map_err(|error| format!("chromedriver can't be run: {error}"))?;
        let begun = Instant::now();
        while running.said.lock().unwrap().port.is_none() {
            if let Some(status) = running.process.try_wait().unwrap() {
                running.until_over().await;
                return Err(format!("chromedriver ended before it named its port ({status}){}", running.words()));
            }
            if begun.elapsed() > LISTENS_WITHIN {
                return Err(format!("chromedriver named no port within {LISTENS_WITHIN:?}{}", running.words()));
            }
            sleep(LOOK_EVERY).await;
        }
        Ok(running)
    }

    fn spawn(command: Vec<OsString>) -> io::Result<Self> {
        let said = Arc::<Mutex<Said>>::default();
        let (hears, (tell, told)) = (Arc::clone(&said), mpsc::channel());
        // To the kernel it is the thread that has a child, and one that is tied ends with it: so the thread that starts the
        // driver stays for as long as it speaks, and none of a test's threads does it.
        thread::spawn(move || match launch(&command) {
            Ok((process, output)) => {
                tell.send(Ok(process)).unwrap();
                hear(output, &hears);
            }
            Err(error) => tell.send(Err(error)).unwrap(),
        });
        Ok(Self { process: told.recv().unwrap()?, said })
    }

    /// Its last words may still be on their way when it is gone.
    async fn until_over(&self) {
        let begun = Instant::now();
        while !self.said.lock().unwrap().is_over && begun.elapsed() < ENDS_WITHIN {
            sleep(LOOK_EVERY).await;
        }
    }

    /// The end of a sentence about it.
    fn words(&self) -> String {
        let lines = &self.said.lock().unwrap().lines;
        if lines.is_empty() {
            return " and said nothing".to_owned();
        }
        lines.iter().fold(" and said:".to_owned(), |mut words, line| {
            let _ = write!(words, "\n  | {line}");
            words
        })
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// Both outputs in one pipe, whose other end only the driver and what it starts have.
fn launch(command: &[OsString]) -> io::Result<(Child, PipeReader)> {
    let (program, arguments) = command.split_first().expect("a command has a program");
    let (output, input) = io::pipe()?;
    let mut command = tied(program);
    command.args(arguments).stdin(Stdio::null()).stdout(input.try_clone()?).stderr(input);
    Ok((command.spawn()?, output))
}

fn hear(output: PipeReader, said: &Mutex<Said>) {
    for line in BufReader::new(output).split(b'\n').map_while(Result::ok) {
        let line = String::from_utf8_lossy(&line).trim_end().to_owned();
        let mut said = said.lock().unwrap();
        if let Some((_, port)) = line.split_once("started successfully on port ") {
            said.port = port.trim_end_matches('.').parse().ok();
        }
        if said.lines.len() == KEPT_LINES {
            said.lines.pop_front();
        }
        said.lines.push_back(line);
    }
    said.lock().unwrap().is_over = true;
}

/// A command that the kernel ends when the tests end, however they do (Linux; elsewhere a plain command).
fn tied(program: &OsString) -> Command {
    if !can_be_tied() {
        return Command::new(program);
    }
    let mut command = Command::new("setpriv");
    command.args(["--pdeathsig", "KILL", "--"]).arg(program);
    command
}

fn can_be_tied() -> bool {
    env::var_os("PATH").is_some_and(|path| env::split_paths(&path).any(|folder| folder.join("setpriv").is_file()))
}

#[cfg(test)]
pub(crate) mod tests {
    use std::{
        fs, panic,
        path::{Path, PathBuf},
    };

    use futures::FutureExt as _;

    use super::*;

    /// A folder for what a fake driver leaves, which is its `$0`.
    pub(crate) fn folder(name: &str) -> PathBuf {
        let folder = env::temp_dir().join(format!("ghl-sync-chromedriver-{name}-{}", std::process::id()));
        let _ = fs::remove_dir_all(&folder);
        fs::create_dir(&folder).unwrap();
        folder
    }

    /// Counts its starts in `$starts`, then does as `script` says.
    pub(crate) fn fake(folder: &Path, script: &str) -> Chromedriver {
        let script = format!("echo start >>$0/starts; starts=$(grep -c . $0/starts); {script}");
        Chromedriver { command: ["sh".into(), "-c".into(), script.into(), folder.into()].into(), running: None }
    }

    const LISTEN: &str = "echo was started successfully on port $((4700 + starts)).; exec sleep 60";

    #[tokio::test]
    async fn one_that_ends_at_once_is_started_again() {
        let folder = folder("again");
        let mut driver =
            fake(&folder, &format!("[ $starts = 1 ] && {{ echo no port is free >&2; exit 1; }}; {LISTEN}"));
        assert_eq!(driver.url().await, "http://127.0.0.1:4702");
        assert_eq!(driver.url().await, "http://127.0.0.1:4702", "one is enough");
        assert_eq!(driver.account(), "chromedriver runs and said:\n  | was started successfully on port 4702.");
        fs::remove_dir_all(folder).unwrap();
    }

    #[tokio::test]
    async fn the_last_words_of_one_that_never_listens_are_in_the_failure() {
        let folder = folder("never");
        let mut driver = fake(&folder, "echo try $starts; echo no port is free >&2; exit 3");
        let failure = panic::AssertUnwindSafe(driver.url()).catch_unwind().await.unwrap_err();
        assert_eq!(
            *failure.downcast_ref::<String>().unwrap(),
            format!(
                "chromedriver ended before it named its port (exit status: 3) and said:\n  | try 4\n  | no port is free\n{INSTALL}"
            )
        );
        fs::remove_dir_all(folder).unwrap();
    }

    #[tokio::test]
    async fn no_more_than_the_last_words_are_kept() {
        let folder = folder("words");
        let mut driver = fake(&folder, &format!("seq 1000; {LISTEN}"));
        driver.url().await;
        let words = driver.account();
        assert_eq!(words.lines().count(), 1 + KEPT_LINES);
        assert_eq!(words.lines().nth(1), Some("  | 902"));
        fs::remove_dir_all(folder).unwrap();
    }

    #[tokio::test]
    async fn one_that_is_found_dead_is_started_again() {
        let folder = folder("dead");
        let mut driver = fake(&folder, LISTEN);
        assert_eq!(driver.url().await, "http://127.0.0.1:4701");
        driver.running.as_mut().unwrap().process.kill().unwrap();
        let end = driver.end_soon().await.unwrap();
        assert!(end.contains("signal: 9") && end.contains("port 4701"), "{end}");
        assert_eq!(driver.url().await, "http://127.0.0.1:4702");
        fs::remove_dir_all(folder).unwrap();
    }

    #[test]
    fn it_outlives_the_test_that_started_it() {
        let folder = folder("outlives");
        let mut driver = fake(&folder, LISTEN);
        let mut in_a_test = || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
            let url = runtime.block_on(driver.url());
            // Time for a death to become known.
            (url, runtime.block_on(driver.end_soon()))
        };
        for _ in 0..2 {
            let seen = thread::scope(|scope| scope.spawn(&mut in_a_test).join().unwrap());
            assert_eq!(seen, ("http://127.0.0.1:4701".to_owned(), None));
        }
        fs::remove_dir_all(folder).unwrap();
    }

    /// This test is also the program that is killed: `STARTS_A_DRIVER` names the folder then.
    #[tokio::test]
    async fn it_ends_with_the_tests_however_they_end() {
        const PROGRAM: &str = "STARTS_A_DRIVER";
        if let Some(folder) = env::var_os(PROGRAM) {
            let mut driver = fake(&PathBuf::from(folder), &format!("echo $$ >$0/pid; {LISTEN}"));
            driver.url().await;
            return std::future::pending().await;
        }
        if !can_be_tied() {
            return;
        }
        let folder = folder("ends");
        let mut tests = Command::new(env::current_exe().unwrap())
            .args(["--exact", "chromedriver::tests::it_ends_with_the_tests_however_they_end"])
            .env(PROGRAM, &folder)
            .stdout(Stdio::null())
            .spawn()
            .unwrap();
        // `sleep` is what became of the script once it listens.
        let state =
            || fs::read_to_string(format!("/proc/{}/stat", fs::read_to_string(folder.join("pid")).ok()?.trim())).ok();
        let until = async |holds: &dyn Fn(&str) -> bool| {
            let begun = Instant::now();
            while !holds(&state().unwrap_or_default()) {
                assert!(begun.elapsed() < LISTENS_WITHIN, "the driver is {:?}", state());
                sleep(LOOK_EVERY).await;
            }
        };
        until(&|state| state.contains("(sleep) S")).await;
        tests.kill().unwrap();
        tests.wait().unwrap();
        // Where nobody waits for orphans, they stay as zombies.
        until(&|state| state.is_empty() || state.contains("(sleep) Z")).await;
        fs::remove_dir_all(folder).unwrap();
    }
}

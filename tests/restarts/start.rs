//! The stack that is killed, and one start of it.

use std::{
    env,
    fs::{self, File},
    path::PathBuf,
    process::{ExitStatus, Stdio},
    time::{Duration, Instant},
};

use serde_json::Value;
use tests::{project, xtask::xtask};
use tokio::{
    process::{Child, Command},
    time::sleep,
};
use tokio_postgres::{Client, NoTls};

use crate::stage::Stage;

/// Between two looks at how far a start has come: some stages last for a few milliseconds.
const LOOK_EVERY: Duration = Duration::from_millis(1);
/// No start takes so long, on any machine.
const LONGEST: Duration = Duration::from_secs(240);

/// The stack.
pub(crate) struct Local {
    directory: PathBuf,
    port_base: u16,
}

/// Who is killed by `SIGKILL`.
#[derive(Clone, Copy)]
pub(crate) enum Killed {
    /// xtask: what it has started may live on.
    Alone,
    /// All that it has started as well, before anybody can tidy up.
    WithAll,
    /// xtask, while all that it has started hangs and obeys no request.
    WhileTheRestHangs,
}

impl Local {
    /// Nothing is there.
    pub(crate) fn empty() -> Self {
        let port_base = env::var("RESTARTS_PORT_BASE").map_or(8550, |port| port.parse().expect("a port"));
        let directory = project("target/local/stacks/killed");
        if directory.exists() {
            fs::remove_dir_all(&directory).unwrap();
        }
        fs::create_dir_all(&directory).unwrap();
        Self { directory, port_base }
    }

    pub(crate) fn directory(&self) -> &PathBuf {
        &self.directory
    }

    /// What the last start has printed.
    pub(crate) fn output(&self) -> PathBuf {
        self.directory.with_extension("log")
    }

    pub(crate) fn port(&self, number: u16) -> u16 {
        self.port_base + number
    }

    /// A connection to its database, if that answers.
    pub(crate) async fn database(&self) -> Option<Client> {
        let keys: Value = serde_json::from_str(&fs::read_to_string(self.directory.join("keys.json")).ok()?).ok()?;
        let password = keys.get("postgres_password")?.as_str()?;
        let url = format!("postgres://postgres:{password}@127.0.0.1:{}/postgres", self.port(1));
        let (client, connection) = tokio_postgres::connect(&url, NoTls).await.ok()?;
        tokio::spawn(connection);
        Some(client)
    }

    pub(crate) async fn record_a_migration_of_the_future(&self) {
        let database = self.database().await.expect("the stack is up");
        let row = "insert into supabase_migrations.schema_migrations (version) values ('99990101000000')";
        database.execute(row, &[]).await.unwrap();
    }

    /// Starts it.
    pub(crate) async fn start(&self, arguments: &[&str]) -> Start<'_> {
        let mut command: Command = xtask();
        let output = File::create(self.output()).unwrap();
        command.args(arguments).args(["--name", "killed", "--port-base", &self.port_base.to_string()]);
        command.stdout(output.try_clone().unwrap()).stderr(output).stdin(Stdio::null());
        println!("{}", arguments.join(" "));
        Start { local: self, begun: Instant::now(), xtask: command.spawn().expect("xtask runs") }
    }
}

/// A start under way.
pub(crate) struct Start<'a> {
    local: &'a Local,
    begun: Instant,
    xtask: Child,
}

impl Start<'_> {
    /// Waits until it has come so far.
    pub(crate) async fn until(mut self, stage: Stage) -> Self {
        while !stage.is_reached(self.local).await {
            if let Some(status) = self.xtask.try_wait().unwrap() {
                panic!("ended before {stage:?} ({status}):\n{}", self.said());
            }
            assert!(self.begun.elapsed() < LONGEST, "{stage:?} isn't reached:\n{}", self.said());
            sleep(LOOK_EVERY).await;
        }
        println!("  {stage:?} after {:.1} s", self.begun.elapsed().as_secs_f64());
        self
    }

    /// Kills it.
    pub(crate) async fn kill(mut self, killed: Killed) {
        let own = self.xtask.id().expect("it runs");
        match killed {
            Killed::Alone => {}
            // Its own as well, so that it sees nobody end.
            Killed::WithAll => send("KILL", &[vec![own], descendants(own)].concat()).await,
            Killed::WhileTheRestHangs => send("STOP", &descendants(own)).await,
        }
        send("KILL", &[own]).await;
        self.xtask.wait().await.unwrap();
    }

    /// It ends with an error that holds these words.
    pub(crate) async fn fails_with(mut self, words: &str) {
        let status = self.ended().await;
        assert!(!status.success() && self.said().contains(words), "{words:?} isn't said ({status}):\n{}", self.said());
    }

    /// It ends well.
    pub(crate) async fn succeeds(mut self) {
        let status = self.ended().await;
        assert!(status.success(), "{status}:\n{}", self.said());
    }

    async fn ended(&mut self) -> ExitStatus {
        let ended = tokio::time::timeout(LONGEST, self.xtask.wait()).await;
        ended.unwrap_or_else(|_| panic!("it doesn't end:\n{}", self.said())).unwrap()
    }

    fn said(&self) -> String {
        fs::read_to_string(self.local.output()).unwrap_or_default()
    }
}

/// Sends a signal; some may have ended meanwhile.
async fn send(signal: &str, to: &[u32]) {
    let pids: Vec<String> = to.iter().map(u32::to_string).collect();
    Command::new("sh").args(["-c", &format!("kill -{signal} {}", pids.join(" "))]).output().await.unwrap();
}

/// The children of a process, and theirs.
fn descendants(of: u32) -> Vec<u32> {
    let parent_of = |pid: u32| -> Option<u32> {
        let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
        stat.rsplit_once(')')?.1.split_whitespace().nth(1)?.parse().ok()
    };
    let processes = fs::read_dir("/proc").unwrap().filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok());
    let pairs: Vec<(u32, u32)> = processes.filter_map(|pid| Some((pid, parent_of(pid)?))).collect();
    let mut found = vec![of];
    let mut next = 0;
    while let Some(parent) = found.get(next).copied() {
        found.extend(pairs.iter().filter(|(_, its)| *its == parent).map(|(pid, _)| *pid));
        next += 1;
    }
    found.split_off(1)
}

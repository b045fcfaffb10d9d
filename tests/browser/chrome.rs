//! chromedriver and one browser.

use std::{
    env, fs, panic,
    path::{Path, PathBuf},
    process::Stdio,
    time::Duration,
};

use base64::{Engine as _, prelude::BASE64_STANDARD};
use fantoccini::{Client, ClientBuilder};
use futures::FutureExt as _;
use hyper_util::client::legacy::connect::HttpConnector;
use serde_json::{Value, json};
use tokio::{
    io::{AsyncBufReadExt as _, BufReader},
    process::{Child, Command},
    sync::Mutex,
    time::timeout,
};

use crate::{page::Page, relay::Relay, stack::Stack};

const INSTALL: &str = "Install Chromium and its driver: apt-get install chromium chromium-driver";
const ARGUMENTS: [&str; 10] = [
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--hide-scrollbars",
    "--window-size=1200,860",
];

/// There is one location and so one run at a time: the tests take turns.
static TURN: Mutex<()> = Mutex::const_new(());

/// Opens `url` in a fresh browser and closes the browser whatever becomes of the test.
pub(crate) async fn with_page(stack: &Stack, url: &str, test: impl AsyncFnOnce(&Page)) {
    let _turn = TURN.lock().await;
    let authority = stack.websocket_url.split('/').nth(2).expect("a WebSocket URL has a host");
    let relay = Relay::to(authority).await;
    let profile = env::temp_dir().join(format!("ghl-sync-browser-{}", relay.address.port()));
    let mut driver = Driver::start().await;
    driver.open(&profile, &format!("MAP {authority} {}", relay.address)).await;

    let page = Page { browser: driver, relay };
    let outcome = panic::AssertUnwindSafe(async {
        page.browser.client().goto(url).await.unwrap();
        test(&page).await;
    })
    .catch_unwind()
    .await;
    if outcome.is_err() {
        page.browser.screenshot("failure").await;
    }
    page.browser.close().await;
    let _ = fs::remove_dir_all(&profile);
    outcome.unwrap_or_else(|panicked| panic::resume_unwind(panicked));
}

/// A chromedriver of our own, killed with its handle, and the browser it drives.
pub(crate) struct Driver {
    process: Child,
    url: String,
    client: Option<Client>,
    session: String,
}

impl Driver {
    async fn start() -> Self {
        let mut process = Command::new("chromedriver")
            .arg("--port=0")
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .kill_on_drop(true)
            .spawn()
            .unwrap_or_else(|error| panic!("chromedriver: {error}. {INSTALL}"));
        let mut lines = BufReader::new(process.stdout.take().unwrap()).lines();
        let port = timeout(Duration::from_secs(30), async {
            loop {
                let line = lines.next_line().await.unwrap().expect("chromedriver says its port before it ends");
                if let Some((_, port)) = line.split_once("started successfully on port ") {
                    return port.trim_end_matches('.').to_owned();
                }
            }
        });
        let port = port.await.expect("chromedriver starts within 30 s");
        let url = format!("http://127.0.0.1:{port}");
        Self { process, url, client: None, session: String::new() }
    }

    async fn open(&mut self, profile: &Path, resolver_rules: &str) {
        let mut arguments: Vec<String> = ARGUMENTS.map(str::to_owned).to_vec();
        arguments.push(format!("--user-data-dir={}", profile.display()));
        arguments.push(format!("--host-resolver-rules={resolver_rules}"));
        let capabilities =
            json!({ "goog:chromeOptions": { "args": arguments }, "goog:loggingPrefs": { "browser": "ALL" } });
        let client = ClientBuilder::new(HttpConnector::new())
            .capabilities(capabilities.as_object().unwrap().clone())
            .connect(&self.url)
            .await
            .unwrap_or_else(|error| panic!("Chromium doesn't start: {error}. {INSTALL}"));
        self.session = client.session_id().await.unwrap().expect("a new session has an id");
        self.client = Some(client);
    }

    pub(crate) fn client(&self) -> &Client {
        self.client.as_ref().expect("the browser is open")
    }

    async fn close(&self) {
        let _ = self.client().clone().close().await;
        debug_assert!(self.process.id().is_some(), "chromedriver outlives its browser");
    }

    /// A command that only Chromium has.
    async fn command(&self, path: &str, body: Value) -> Value {
        let url = format!("{}/session/{}/{path}", self.url, self.session);
        let answer = reqwest::Client::new().post(url).json(&body).send().await.unwrap();
        let mut answer: Value = serde_json::from_str(&answer.text().await.unwrap()).unwrap();
        answer["value"].take()
    }

    async fn devtools(&self, command: &str, parameters: Value) -> Value {
        self.command("goog/cdp/execute", json!({ "cmd": command, "params": parameters })).await
    }

    pub(crate) async fn look(&self, width: u32, height: u32, scheme: &str) {
        let size = json!({ "width": width, "height": height, "deviceScaleFactor": 2, "mobile": width < 600 });
        self.devtools("Emulation.setDeviceMetricsOverride", size).await;
        let media = json!({ "features": [{ "name": "prefers-color-scheme", "value": scheme }] });
        self.devtools("Emulation.setEmulatedMedia", media).await;
    }

    /// What the console has shown since the last call: errors of scripts, refusals of the security policy, failed requests.
    pub(crate) async fn console(&self) -> Vec<String> {
        let entries = self.command("se/log", json!({ "type": "browser" })).await;
        let entries = entries.as_array().expect("chromedriver keeps the console").clone();
        entries.iter().map(|entry| format!("{}: {}", entry["source"], entry["message"])).collect()
    }

    /// A picture in `SCREENSHOT_DIR`, if it is set.
    pub(crate) async fn screenshot(&self, name: &str) {
        let Some(folder) = env::var_os("SCREENSHOT_DIR").map(PathBuf::from) else { return };
        fs::create_dir_all(&folder).unwrap();
        // What still moves would be caught halfway.
        let settled =
            "Promise.all(document.getAnimations().filter((a) => Number.isFinite(a.effect.getComputedTiming().endTime))
             .map((a) => a.finished)).then(() => true)";
        self.devtools("Runtime.evaluate", json!({ "expression": settled, "awaitPromise": true })).await;
        let picture = self.devtools("Page.captureScreenshot", json!({ "format": "png" })).await;
        let picture = BASE64_STANDARD.decode(picture["data"].as_str().unwrap_or_default()).unwrap();
        fs::write(folder.join(format!("{name}.png")), picture).unwrap();
    }
}

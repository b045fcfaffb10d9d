//! One browser, fresh for each test.

use std::{
    collections::BTreeMap,
    env, fs, panic,
    path::{Path, PathBuf},
    sync::LazyLock,
    time::{Duration, Instant},
};

use base64::{Engine as _, prelude::BASE64_STANDARD};
use fantoccini::{Client, ClientBuilder, error::NewSessionError};
use futures::FutureExt as _;
use hyper_util::client::legacy::connect::HttpConnector;
use serde_json::{Value, json};
use tokio::sync::Mutex;

use crate::{
    chromedriver::{Chromedriver, INSTALL},
    page::{A_MOMENT, Page},
    relay::Relay,
    site::Site,
};

const ARGUMENTS: [&str; 9] = [
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--hide-scrollbars",
];

/// A desk's window and a phone's screen, in CSS pixels.
pub(crate) const DESK: (u32, u32) = (1200, 860);
pub(crate) const PHONE: (u32, u32) = (375, 812);

/// The longest that a command may take, an expression that is awaited included.
const COMMAND_WITHIN: Duration = Duration::from_secs(60);

/// There is one location and so one run at a time: the tests take turns. Whose turn it is has the driver.
static TURN: LazyLock<Mutex<Chromedriver>> = LazyLock::new(|| Mutex::new(Chromedriver::installed()));

/// Opens `url` in a fresh browser and closes the browser whatever becomes of the test.
pub(crate) async fn with_page(site: &Site, url: &str, test: impl AsyncFnOnce(&Page)) {
    let mut driver = TURN.lock().await;
    let authority = site.websocket_url.split('/').nth(2).expect("a WebSocket URL has a host");
    let relay = Relay::to(authority).await;
    let profile = env::temp_dir().join(format!("ghl-sync-browser-{}", relay.address.port()));
    let browser = Browser::open(&mut driver, &profile, &format!("MAP {authority} {}", relay.address)).await;

    let page = Page { browser, relay };
    let outcome = panic::AssertUnwindSafe(async {
        page.browser.client().goto(url).await.unwrap();
        test(&page).await;
    })
    .catch_unwind()
    .await;
    let end = if outcome.is_err() { driver.end_soon().await } else { None };
    if outcome.is_err() && end.is_none() {
        eprintln!("{}", driver.account());
        page.browser.screenshot("failure").await;
    }
    page.browser.close().await;
    let _ = fs::remove_dir_all(&profile);
    driver.rest();
    match (outcome, end) {
        (Ok(()), _) => {}
        (Err(_), Some(end)) => panic!("the test failed since {end}"),
        (Err(panicked), None) => panic::resume_unwind(panicked),
    }
}

/// A browser with a profile of its own.
pub(crate) struct Browser {
    driver_url: String,
    client: Client,
    session: String,
    /// What the emulated system prefers, by media feature: Chromium takes all of it at once.
    preferences: Mutex<BTreeMap<&'static str, String>>,
}

impl Browser {
    async fn open(driver: &mut Chromedriver, profile: &Path, resolver_rules: &str) -> Self {
        let mut driver_url = driver.url().await;
        let mut client = connect(&driver_url, profile, resolver_rules).await;
        if client.is_err() && driver.end_soon().await.is_some() {
            // It died between its last answer and this question: another one can answer.
            driver_url = driver.url().await;
            client = connect(&driver_url, profile, resolver_rules).await;
        }
        let client =
            client.unwrap_or_else(|error| panic!("Chromium doesn't start: {error}. {INSTALL}\n{}", driver.account()));
        let session = client.session_id().await.unwrap().expect("a new session has an id");
        Self { driver_url, client, session, preferences: Mutex::default() }
    }

    pub(crate) fn client(&self) -> &Client {
        &self.client
    }

    async fn close(&self) {
        let _ = self.client.clone().close().await;
    }

    /// A command that only Chromium has.
    async fn command(&self, path: &str, body: Value) -> Value {
        let url = format!("{}/session/{}/{path}", self.driver_url, self.session);
        let sent = ::tests::http().post(url).json(&body).timeout(COMMAND_WITHIN).send().await;
        let answer = sent.unwrap_or_else(|error| panic!("{path}: {error}"));
        let mut answer: Value = serde_json::from_str(&answer.text().await.unwrap()).unwrap();
        let answer = answer["value"].take();
        assert!(answer["error"].is_null(), "{path}: {} {}", answer["error"], answer["message"]);
        answer
    }

    async fn devtools(&self, command: &str, parameters: Value) -> Value {
        self.command("goog/cdp/execute", json!({ "cmd": command, "params": parameters })).await
    }

    /// A screen of this size in CSS pixels, in light or dark.
    pub(crate) async fn look(&self, width: u32, height: u32, scheme: &str) {
        self.screen((width, height), 2.0, width < 600).await;
        self.prefer("prefers-color-scheme", scheme).await;
    }

    /// As if the system were in dark mode, or in light.
    pub(crate) async fn emulate_dark(&self, dark: bool) {
        self.prefer("prefers-color-scheme", if dark { "dark" } else { "light" }).await;
    }

    /// As if the system were asked for less motion.
    pub(crate) async fn emulate_reduced_motion(&self) {
        self.prefer("prefers-reduced-motion", "reduce").await;
    }

    /// What the browser's own zoom makes of the desk's window: fewer CSS pixels, each of them larger. 2.0 is 200 %.
    pub(crate) async fn zoom(&self, factor: f64) {
        let (width, height) = DESK;
        let fewer = |pixels: u32| (f64::from(pixels) / factor).round() as u32;
        self.screen((fewer(width), fewer(height)), factor, false).await;
    }

    pub(crate) async fn phone(&self) {
        self.screen(PHONE, 2.0, true).await;
    }

    pub(crate) async fn desk(&self) {
        self.screen(DESK, 1.0, false).await;
    }

    async fn screen(&self, (width, height): (u32, u32), pixels_per_css_pixel: f64, mobile: bool) {
        let size =
            json!({ "width": width, "height": height, "deviceScaleFactor": pixels_per_css_pixel, "mobile": mobile });
        self.devtools("Emulation.setDeviceMetricsOverride", size).await;
    }

    async fn prefer(&self, feature: &'static str, value: &str) {
        let mut preferences = self.preferences.lock().await;
        preferences.insert(feature, value.to_owned());
        let features: Vec<_> =
            preferences.iter().map(|(name, value)| json!({ "name": name, "value": value })).collect();
        self.devtools("Emulation.setEmulatedMedia", json!({ "features": features })).await;
    }

    /// The same with any preferences of the user and no others, `(media feature, value)`.
    pub(crate) async fn look_with(&self, width: u32, height: u32, preferences: &[(&'static str, &str)]) {
        self.preferences.lock().await.clear();
        self.screen((width, height), 2.0, width < 600).await;
        for (feature, value) in preferences {
            self.prefer(feature, value).await;
        }
    }

    /// Runs before the scripts of every page that is loaded from now on; no policy of the page forbids it.
    pub(crate) async fn before_pages(&self, script: &str) {
        self.devtools("Page.addScriptToEvaluateOnNewDocument", json!({ "source": script })).await;
    }

    /// Files that aren't given out from now on, by a pattern with `*`.
    pub(crate) async fn withhold(&self, files: &[&str]) {
        self.devtools("Network.enable", json!({})).await;
        self.devtools("Network.setBlockedURLs", json!({ "urls": files })).await;
    }

    /// What the console has shown since the last call: errors of scripts, refusals of the security policy, failed requests.
    pub(crate) async fn console(&self) -> Vec<String> {
        let entries = self.log().await;
        let shown = entries.iter().filter(|entry| entry["level"] != "DEBUG");
        shown.map(|entry| format!("{}: {}", entry["source"], entry["message"])).collect()
    }

    /// What the page has told the console since the last call, for diagnosis.
    pub(crate) async fn diagnosis(&self) -> Vec<String> {
        let entries = self.log().await;
        let told = entries.iter().filter(|entry| entry["level"] == "DEBUG");
        told.map(|entry| entry["message"].as_str().unwrap_or_default().to_owned()).collect()
    }

    async fn log(&self) -> Vec<Value> {
        let entries = self.command("se/log", json!({ "type": "browser" })).await;
        entries.as_array().expect("chromedriver keeps the console").clone()
    }

    /// A picture in `SCREENSHOT_DIR`, if it is set.
    pub(crate) async fn screenshot(&self, name: &str) {
        let Some(folder) = env::var_os("SCREENSHOT_DIR").map(PathBuf::from) else { return };
        fs::create_dir_all(&folder).unwrap();
        fs::write(folder.join(format!("{name}.png")), self.picture().await).unwrap();
    }

    /// What is on the screen, as PNG.
    pub(crate) async fn picture(&self) -> Vec<u8> {
        self.settle().await;
        let picture = self.devtools("Page.captureScreenshot", json!({ "format": "png" })).await;
        BASE64_STANDARD.decode(picture["data"].as_str().unwrap_or_default()).unwrap()
    }

    /// Waits for what still moves and ends: it would be caught halfway.
    pub(crate) async fn settle(&self) {
        // Asked again and again: an animation whose element was taken away may never say that it is finished.
        let moves = "document.getAnimations()
            .some((a) => a.playState === 'running' && Number.isFinite(a.effect.getComputedTiming().endTime))";
        let begun = Instant::now();
        while self.evaluate(moves).await == true {
            assert!(begun.elapsed() < A_MOMENT, "something on the page doesn't come to rest");
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }

    /// The value of an expression, awaited. The page's security policy, which binds scripts of the page, doesn't bind it.
    pub(crate) async fn evaluate(&self, expression: &str) -> Value {
        let parameters = json!({ "expression": expression, "awaitPromise": true, "returnByValue": true });
        let mut answer = self.devtools("Runtime.evaluate", parameters).await;
        assert!(answer["exceptionDetails"].is_null(), "{}", answer["exceptionDetails"]);
        answer["result"]["value"].take()
    }
}

async fn connect(driver_url: &str, profile: &Path, resolver_rules: &str) -> Result<Client, NewSessionError> {
    let mut arguments: Vec<String> = ARGUMENTS.map(str::to_owned).to_vec();
    arguments.push(format!("--window-size={},{}", DESK.0, DESK.1));
    arguments.push(format!("--user-data-dir={}", profile.display()));
    arguments.push(format!("--host-resolver-rules={resolver_rules}"));
    let mut options = json!({ "args": arguments });
    if let Some(chromium) = env::var_os("CHROMIUM") {
        options["binary"] = json!(chromium.to_string_lossy());
    }
    let capabilities = json!({ "goog:chromeOptions": options, "goog:loggingPrefs": { "browser": "ALL" } });
    ClientBuilder::new(HttpConnector::new())
        .capabilities(capabilities.as_object().unwrap().clone())
        .connect(driver_url)
        .await
}

#[cfg(test)]
mod tests {
    use axum::{
        Json, Router,
        routing::{get, post},
    };
    use tokio::net::TcpListener;

    use super::*;
    use crate::chromedriver::tests::{fake, folder};

    #[tokio::test]
    async fn a_session_that_fails_with_its_driver_is_asked_of_another() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let session = Json(json!({ "value": { "sessionId": "of the second", "capabilities": {} } }));
        tokio::spawn(axum::serve(listener, Router::new().route("/session", post(async || session))).into_future());
        let port = url.rsplit(':').next().unwrap();
        // The first names a port where nobody answers, and is gone.
        let script = format!(
            "[ $starts = 1 ] && {{ echo started successfully on port 9.; exit 1; }}
             echo started successfully on port {port}.; exec sleep 60"
        );
        let folder = folder("session");
        let mut driver = fake(&folder, &script);
        let browser = Browser::open(&mut driver, &folder, "MAP here there").await;
        assert_eq!((browser.session.as_str(), &browser.driver_url), ("of the second", &url));
        fs::remove_dir_all(folder).unwrap();
    }

    /// The real ones, which need no stack.
    #[tokio::test]
    async fn each_test_has_a_fresh_browser_of_the_same_driver() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let page = format!("http://{}", listener.local_addr().unwrap());
        tokio::spawn(axum::serve(listener, Router::new().route("/", get(async || "a page"))).into_future());
        let folder = folder("fresh");
        let mut driver = Chromedriver::installed();
        let driver_url = driver.url().await;
        for test in ["first", "second"] {
            let browser = Browser::open(&mut driver, &folder.join(test), "MAP here there").await;
            assert_eq!(browser.driver_url, driver_url);
            browser.client().goto(&page).await.unwrap();
            let kept = browser.client().execute("return localStorage.kept", vec![]).await.unwrap();
            assert_eq!(kept, Value::Null, "the {test} one");
            browser.client().execute("localStorage.kept = 'something'", vec![]).await.unwrap();
            browser.close().await;
        }
        fs::remove_dir_all(folder).unwrap();
    }
}

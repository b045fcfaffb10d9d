//! The admin page, as a person uses it.

use std::{
    future::Future,
    time::{Duration, Instant},
};

use fantoccini::{Locator, elements::Element, key::Key};
use serde_json::Value;

use crate::{chrome::Browser, relay::Relay};

/// A full sync of the default 150 orders takes two windows of the rate limit.
pub(crate) const A_RUN: Duration = Duration::from_secs(120);
/// The cool-down is 30 s.
pub(crate) const A_COOLDOWN: Duration = Duration::from_secs(60);
pub(crate) const A_MOMENT: Duration = Duration::from_secs(20);

pub(crate) struct Page {
    pub(crate) browser: Browser,
    pub(crate) relay: Relay,
}

impl Page {
    pub(crate) async fn element(&self, id: &str) -> Element {
        let found = self.browser.client().find(Locator::Id(id)).await;
        found.unwrap_or_else(|error| panic!("#{id}: {error}"))
    }

    pub(crate) async fn click(&self, id: &str) {
        let clicked = self.element(id).await.click().await;
        clicked.unwrap_or_else(|error| panic!("click on #{id}: {error}"));
    }

    /// What a person reads there; empty when it is hidden.
    pub(crate) async fn text(&self, id: &str) -> String {
        self.element(id).await.text().await.unwrap()
    }

    /// What is of a page that is just being left isn't.
    pub(crate) async fn is_shown(&self, id: &str) -> bool {
        let is_gone = |error: &str| error.contains("stale element") || error.contains("no such element");
        let element = match self.browser.client().find(Locator::Id(id)).await {
            Err(error) if is_gone(&error.to_string()) => return false,
            found => found.unwrap(),
        };
        match element.is_displayed().await {
            Err(error) if is_gone(&error.to_string()) => false,
            shown => shown.unwrap(),
        }
    }

    pub(crate) async fn attribute(&self, id: &str, name: &str) -> String {
        self.element(id).await.attr(name).await.unwrap().unwrap_or_default()
    }

    pub(crate) async fn run(&self, script: &str) -> Value {
        self.browser.client().execute(script, vec![]).await.unwrap()
    }

    /// 0 to 100.
    pub(crate) async fn bar(&self, id: &str) -> f64 {
        self.run(&format!("return document.getElementById('{id}').value")).await.as_f64().unwrap()
    }

    /// Waits for a condition, asked often; `what` says in the failure what never came.
    pub(crate) async fn until<F: Future<Output = bool>>(
        &self,
        what: &str,
        within: Duration,
        mut holds: impl FnMut() -> F,
    ) {
        let begun = Instant::now();
        while !holds().await {
            if begun.elapsed() >= within {
                let (status, notice) = (self.text("status").await, self.text("notice").await);
                panic!("not within {within:?}: {what} (status {status:?}, message {notice:?})");
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }

    pub(crate) async fn until_status(&self, status: &str, within: Duration) {
        self.until(status, within, async || self.attribute("status", "data-status").await == status).await;
    }

    pub(crate) async fn until_connection(&self, state: &str) {
        self.until(state, A_MOMENT, async || self.attribute("connection", "data-state").await == state).await;
    }

    pub(crate) async fn until_text(&self, id: &str, part: &str, within: Duration) {
        self.until(part, within, async || self.text(id).await.contains(part)).await;
    }

    /// Connected, and no run or cool-down of an earlier test in the way.
    pub(crate) async fn until_ready(&self) {
        self.until_connection("live").await;
        let free = async || self.attribute("start-full", "aria-disabled").await == "false";
        self.until("a start is possible", A_RUN + A_COOLDOWN, free).await;
    }

    /// Records every value a bar has from now on; read it with [`Page::recorded`].
    pub(crate) async fn record(&self, id: &str) {
        self.run(&format!(
            "const bar = document.getElementById('{id}'); const seen = (window.recorded ??= {{}})['{id}'] = [];
             new MutationObserver(() => bar.hasAttribute('value') && seen.push(bar.value)).observe(bar, {{ attributes: true }});"
        ))
        .await;
    }

    pub(crate) async fn recorded(&self, id: &str) -> Vec<f64> {
        let seen = self.run(&format!("return window.recorded['{id}']")).await;
        seen.as_array().unwrap().iter().filter_map(Value::as_f64).collect()
    }

    /// Records every text an element has from now on; read it with [`Page::recorded_text`].
    pub(crate) async fn record_text(&self, id: &str) {
        self.run(&format!(
            "const element = document.getElementById('{id}'); const seen = (window.recorded ??= {{}})['{id}'] = [];
             new MutationObserver(() => seen.push(element.textContent)).observe(element, {{ childList: true, characterData: true, subtree: true }});"
        ))
        .await;
    }

    pub(crate) async fn recorded_text(&self, id: &str) -> Vec<String> {
        let seen = self.run(&format!("return window.recorded['{id}']")).await;
        seen.as_array().unwrap().iter().filter_map(|text| text.as_str().map(str::to_owned)).collect()
    }

    /// The texts of everything a selector finds.
    pub(crate) async fn texts(&self, selector: &str) -> Vec<String> {
        let found =
            self.run(&format!("return [...document.querySelectorAll(`{selector}`)].map((e) => e.textContent)")).await;
        found.as_array().unwrap().iter().filter_map(|text| text.as_str().map(str::to_owned)).collect()
    }

    /// Clicks the button a selector finds.
    pub(crate) async fn press(&self, selector: &str) {
        let button = self.browser.client().find(Locator::Css(selector)).await;
        let clicked = button.unwrap_or_else(|error| panic!("{selector}: {error}")).click().await;
        clicked.unwrap_or_else(|error| panic!("click on {selector}: {error}"));
    }

    /// Whether a script's condition holds.
    pub(crate) async fn holds(&self, condition: &str) -> bool {
        self.run(&format!("return Boolean({condition})")).await == true
    }

    /// A key for whatever has the focus.
    pub(crate) async fn key(&self, key: Key) {
        let focused = self.browser.client().active_element().await.unwrap();
        focused.send_keys(&key.to_string()).await.unwrap();
    }

    /// The `id` of what has the focus, or else its name for screen readers or its tag.
    pub(crate) async fn focused(&self) -> String {
        let script = "const e = document.activeElement; return e.id || e.getAttribute('aria-label') || e.tagName";
        self.run(script).await.as_str().unwrap_or_default().to_owned()
    }

    /// Goes forward by keyboard until something has the focus; fails after more steps than the page has places.
    pub(crate) async fn tab_to(&self, name: &str) {
        for _ in 0..200 {
            if self.focused().await == name {
                return;
            }
            self.key(Key::Tab).await;
        }
        panic!("the keyboard doesn't reach {name}");
    }

    /// Whether it fits its screen: nothing is to be scrolled sideways to.
    pub(crate) async fn fits(&self) -> bool {
        self.holds("document.documentElement.scrollWidth <= document.documentElement.clientWidth").await
    }

    /// Loads the page anew and waits for what it shows of the past.
    pub(crate) async fn reload(&self) {
        self.browser.client().refresh().await.unwrap();
        self.until_connection("live").await;
        self.until("the lists are read", A_MOMENT, async || !self.text("no-failures").await.contains("Loading")).await;
    }

    pub(crate) async fn assert_clean_console(&self) {
        let shown = self.browser.console().await;
        assert!(shown.is_empty(), "the console shows {shown:#?}");
    }

    /// Pictures of the present moment for the README: a desk in light and dark, a phone.
    pub(crate) async fn screenshots(&self, name: &str) {
        for (look, width, height, scheme) in [
            ("phone", 360, 780, "light"),
            ("phone-dark", 360, 780, "dark"),
            ("dark", 1200, 860, "dark"),
            ("light", 1200, 860, "light"),
        ] {
            self.browser.look(width, height, scheme).await;
            let wide = self.run("return document.documentElement.scrollWidth").await;
            assert!(wide.as_u64().is_some_and(|wide| wide <= width.into()), "the page is wider than a {look} screen");
            self.browser.screenshot(&format!("{name}-{look}")).await;
        }
    }
}

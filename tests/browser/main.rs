//! The admin page in a real headless Chromium, against a running stack.
//!
//! `STACK_JSON` names the file that describes the stack (`cargo xtask up` writes `target/local/stack.json`).
//! With `SCREENSHOT_DIR` the tests leave pictures there.
//!
//! | module | what it is for |
//! |---|---|
//! | `site` | the stack under test: sessions for its pages, and the GHL and database behind them |
//! | `chromedriver` | the driver that all tests share |
//! | `chrome` | one browser, fresh for each test |
//! | `relay` | the network between browser and stack, which can be cut |
//! | `page` | the admin page, as a person uses it |
//! | `axe` | what looks for barriers in it |
//! | `stage` | the same page with its servers played by the test: states that a stack has seldom, or not at the right moment |
//! | `words`, `syncing`, `failing`, `history`, `access`, `sessions`, `hostile`, `accessible` | the tests against the whole stack |
//! | `telling`, `hearing`, `joining`, `attention`, `order`, `looks` | the tests on the stage |
//! | `modules` | the page's modules without a page, in Node.js |
//! | `screenshots` | the README's pictures |
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing, clippy::panic)]

mod access;
mod accessible;
mod attention;
mod axe;
mod chrome;
mod chromedriver;
mod failing;
mod hearing;
mod history;
mod hostile;
mod joining;
mod looks;
mod modules;
mod order;
mod page;
mod relay;
mod screenshots;
mod sessions;
mod site;
mod stage;
mod syncing;
mod telling;
mod words;

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
//! | `syncing`, `failing`, `history`, `frames`, `access`, `sessions`, `hostile`, `accessible` | the tests |
//! | `screenshots` | the README's pictures |
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing, clippy::panic)]

mod access;
mod accessible;
mod axe;
mod chrome;
mod chromedriver;
mod failing;
mod frames;
mod history;
mod hostile;
mod page;
mod relay;
mod screenshots;
mod sessions;
mod site;
mod syncing;

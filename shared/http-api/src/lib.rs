//! Requests, answers and errors of the HTTP API.
//!
//! | module | what it is for |
//! |---|---|
//! | `serve` | [`serve`]: runs a handler; every error, also a panic, becomes the documented error body |
//! | `error` | [`ApiError`]: status, stable code, message for a person, cause for the log; the errors an admin can meet |
//! | `answer` | [`json`]: an answer |
//! | `started` | [`started`]: the answer to a request for a run |
//! | `response` | [`Response`], and the security headers that every answer has |
//! | [`request`] | path, query, body, id and [`Caller`] of a request |
#![cfg_attr(test, allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing, clippy::panic))]

mod answer;
mod error;
pub mod request;
mod response;
mod serve;
mod started;

pub use answer::json;
pub use caller::{Caller, Role};
pub use error::ApiError;
pub use http::{Method, StatusCode, header};
pub use lambda_http::{Body, Request};
pub use response::Response;
pub use serve::{respond, serve};
pub use started::started;

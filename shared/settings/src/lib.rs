#![cfg_attr(test, allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing))]
//! Configuration from the environment and secrets from SSM.
//!
//! | module | what it is for |
//! |---|---|
//! | `env` | [`Env`]: reads variables, from the process or from a map in tests; an empty value counts as absent |
//! | `secret` | [`Secret`]: a value given directly or by the name of an SSM parameter, cached, never printable |
//! | `error` | [`SettingsError`]: names the variable and says what to do |
//! | `aws` | [`aws_config`]: the SDK configuration every AWS client here is built from |

mod aws;
mod env;
mod error;
mod secret;

pub use aws::aws_config;
pub use env::Env;
pub use error::SettingsError;
pub use secrecy::{ExposeSecret, SecretString};
pub use secret::Secret;

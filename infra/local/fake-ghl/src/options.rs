//! What can be set at the start.

use clap::{
    Parser,
    builder::{PossibleValuesParser, TypedValueParser as _},
};

use crate::settings::{FakeSettings, RATE_DAILY, RATE_MAX, RATE_WINDOW_MS, RetryAfter};

/// A GoHighLevel that runs on one machine: orders, products, prices, transactions, webhooks, rate limit.
///
/// It is steered over /_control: health, counters, orders, products, faults, settings, webhooks, webhook-key, reset.
/// What each takes and answers is in the documentation of this crate (infra/local/fake-ghl/src/lib.rs).
#[derive(Debug, Clone, Parser)]
#[command(name = "fake-ghl", version)]
pub struct Options {
    /// Port on 127.0.0.1; 0 takes a free one and names it.
    #[arg(long, default_value_t = 0)]
    pub port: u16,
    /// What all invented data comes from.
    #[arg(long, default_value_t = 1)]
    pub seed: u64,
    /// Ordinary orders; they entitle to three tickets each on average, exactly. A dozen odd ones come on top.
    #[arg(long, default_value_t = 150)]
    pub orders: u32,
    /// The location the token is for.
    #[arg(long, default_value = "FakeLocation00000001")]
    pub location_id: String,
    /// The bearer token callers need.
    #[arg(long, env = "FAKE_GHL_TOKEN", default_value = "pit-fake-token", hide_env_values = true)]
    pub token: String,
    /// Median latency in milliseconds, with a long tail; 0 is none.
    #[arg(long, default_value_t = 0)]
    pub latency_ms: u64,
    /// Requests let through in one window (GHL's sandbox: 25).
    #[arg(long, default_value_t = RATE_MAX)]
    pub rate_max: u64,
    /// Length of the window in milliseconds.
    #[arg(long, default_value_t = RATE_WINDOW_MS)]
    pub rate_window_ms: u64,
    /// Requests let through in one UTC day (GHL's sandbox: 10000).
    #[arg(long, default_value_t = RATE_DAILY)]
    pub rate_daily: u64,
    /// Retry-After on a 429.
    #[arg(long, value_enum, default_value_t = RetryAfter::None)]
    pub retry_after: RetryAfter,
    /// Status for an order that doesn't exist: 404 as seen, 400 as specified.
    #[arg(long, default_value_t = 404, value_parser = not_found_parser())]
    pub not_found_status: u16,
    /// Where webhooks go.
    #[arg(long)]
    pub webhook_url: Option<String>,
    /// Ed25519 key signed webhooks are signed with, base64 of PKCS#8; without it one is made from the seed.
    #[arg(long, env = "FAKE_GHL_WEBHOOK_SIGNING_KEY", hide_env_values = true)]
    pub webhook_signing_key: Option<String>,
    /// Shared secret of workflow webhooks.
    #[arg(long, env = "FAKE_GHL_WEBHOOK_SECRET", default_value = "fake-webhook-secret", hide_env_values = true)]
    pub webhook_secret: String,
    /// Header the shared secret goes in.
    #[arg(long, default_value = "x-webhook-secret")]
    pub webhook_secret_header: String,
}

fn not_found_parser() -> impl clap::builder::TypedValueParser<Value = u16> {
    PossibleValuesParser::new(["404", "400"]).map(|status| if status == "400" { 400 } else { 404 })
}

impl Default for Options {
    /// As started without any option, on a free port.
    fn default() -> Self {
        // Reading no arguments fails for nobody: every option has a default. The exit is clap's own.
        Self::parse_from(["fake-ghl"])
    }
}

impl Options {
    pub(crate) fn settings(&self) -> FakeSettings {
        FakeSettings {
            rate_max: self.rate_max,
            rate_window_ms: self.rate_window_ms,
            rate_daily: self.rate_daily,
            retry_after: self.retry_after,
            latency_ms: self.latency_ms,
            not_found_status: self.not_found_status,
            webhook_url: self.webhook_url.clone(),
            ..FakeSettings::default()
        }
    }
}

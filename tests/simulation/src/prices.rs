//! AWS's prices in dollars: US East, x86, beyond the free tier, as of November 2026.

use crate::Found;

/// Log lines of one invocation, Lambda's own three and the metrics, in bytes.
const LOG_BYTES: u64 = 1_500;

/// Of what, how much, and where it stands.
pub const PRICES: [(&str, f64, &str); 6] = [
    ("Lambda, per GB-s", 0.000_016_666_7, "aws.amazon.com/lambda/pricing"),
    ("Lambda, per million invocations", 0.20, "aws.amazon.com/lambda/pricing"),
    ("SQS standard, per million requests", 0.40, "aws.amazon.com/sqs/pricing"),
    ("S3 PUT, per million", 5.00, "aws.amazon.com/s3/pricing"),
    ("API Gateway WebSocket, per million messages", 1.00, "aws.amazon.com/api-gateway/pricing"),
    ("CloudWatch Logs, per GB taken in", 0.50, "aws.amazon.com/cloudwatch/pricing"),
];

/// What a sync costs.
#[must_use]
pub fn dollars(found: &Found) -> f64 {
    let millions = |count: u64| count as f64 / 1e6;
    let [gb_seconds, invocations, sqs, puts, frames, logs] = PRICES.map(|(_, price, _)| price);
    found.gb_seconds() * gb_seconds
        + millions(found.invocations) * invocations
        + millions(found.sqs_requests) * sqs
        + millions(found.publications) * puts
        + millions(found.frames) * frames
        + (found.invocations * LOG_BYTES) as f64 / 1e9 * logs
}

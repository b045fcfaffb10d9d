//! The published JSON documents in S3: `sync_status.json` and `valid_order_list.json`.
//!
//! They are projections of the database: losing them loses nothing. Several functions publish at once, so the status is
//! written only if the object is still the one that was compared with, and never over a newer `seq`.
#![cfg_attr(test, allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing))]

mod bucket;
mod valid_orders;

use std::time::Duration;

use aws_sdk_s3::{Client, error::SdkError};
use bucket::Bucket;
pub use bucket::{STATUS_OBJECT, StatusStoreError, VALID_ORDERS_OBJECT, client};
use serde_json::Value;
pub use valid_orders::{Upload, ValidOrders};

/// How often a status is compared and written before giving up. Each lost round means that another writer won it. Publications
/// are granted at least 250 ms apart, so few writers meet.
const ROUNDS: u32 = 8;

/// The documents in one bucket. Clones are cheap and share connections.
#[derive(Clone, Debug)]
pub struct StatusStore {
    bucket: Bucket,
}

/// The result of publishing a status.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PutOutcome {
    /// It is the published one now.
    Written,
    /// A status with the same or a newer `seq`, this one, is published already, and stays.
    Superseded(i64),
}

impl StatusStore {
    /// The documents in `bucket`.
    pub fn new(client: Client, bucket: impl Into<String>) -> Self {
        Self { bucket: Bucket { client, name: bucket.into() } }
    }

    /// Publishes a status, unless one with the same or a newer `seq` is published already.
    ///
    /// # Errors
    /// [`StatusStoreError`]: no `seq` in it, S3 unreachable, or other writers winning 8 times in a row.
    pub async fn put_status(&self, status: &Value) -> Result<PutOutcome, StatusStoreError> {
        let seq = seq_of(status).ok_or(StatusStoreError::NoSeq)?;
        for round in 0..ROUNDS {
            let current = self.bucket.read(STATUS_OBJECT).await?;
            let published_seq = current.as_ref().and_then(|current| seq_of(current.status.as_ref()?));
            if let Some(published_seq) = published_seq.filter(|published_seq| *published_seq >= seq) {
                return Ok(PutOutcome::Superseded(published_seq));
            }
            let put = self.bucket.put(STATUS_OBJECT, status.to_string().into_bytes());
            let put = match current.and_then(|current| current.etag) {
                Some(etag) => put.if_match(etag),
                None => put.if_none_match("*"),
            };
            match put.send().await {
                Ok(_) => return Ok(PutOutcome::Written),
                // 412: the object changed since; 409: another conditional write is under way; 404: it was deleted.
                Err(error) if matches!(status_code(&error), Some(404 | 409 | 412)) => {
                    tokio::time::sleep(Duration::from_millis(5 << round)).await;
                }
                Err(error) => return Err(self.bucket.error(STATUS_OBJECT, "written", error)),
            }
        }
        Err(StatusStoreError::Contended { bucket: self.bucket.name.clone() })
    }

    /// The published status, or `None` if there is none yet (or none that is JSON): that is the idle status.
    ///
    /// # Errors
    /// [`StatusStoreError::S3`] if S3 can't be reached.
    pub async fn get_status(&self) -> Result<Option<Value>, StatusStoreError> {
        Ok(self.bucket.read(STATUS_OBJECT).await?.and_then(|current| current.status))
    }

    /// An address by which whoever has it can read the list of valid orders for `expires_in`; `None` if there is no list yet.
    ///
    /// # Errors
    /// [`StatusStoreError::S3`] if S3 can't be reached.
    pub async fn address_of_valid_orders(&self, expires_in: Duration) -> Result<Option<String>, StatusStoreError> {
        if !self.bucket.has(VALID_ORDERS_OBJECT).await? {
            return Ok(None);
        }
        self.bucket.address(VALID_ORDERS_OBJECT, expires_in).await.map(Some)
    }

    /// Begins a new list of valid orders.
    #[must_use]
    pub fn valid_orders(&self) -> ValidOrders<'_> {
        ValidOrders::new(&self.bucket)
    }

    /// Goes on with a list whose first parts are uploaded.
    #[must_use]
    pub fn go_on_with_valid_orders(&self, upload: Upload) -> ValidOrders<'_> {
        ValidOrders::go_on(&self.bucket, upload)
    }
}

fn seq_of(status: &Value) -> Option<i64> {
    status.get("seq")?.as_i64()
}

fn status_code<E>(error: &SdkError<E>) -> Option<u16> {
    error.raw_response().map(|answer| answer.status().as_u16())
}

#[cfg(test)]
mod tests;

//! The published JSON documents in S3: `sync_status.json` and `valid_order_list.json`.
//!
//! They are projections of the database: losing them loses nothing. Several functions publish at once, so the status is
//! written only if the object is still the one that was compared with, and never over a newer `seq`.
#![cfg_attr(test, allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing))]

mod valid_orders;

use std::time::Duration;

use aws_config::SdkConfig;
use aws_sdk_s3::{
    Client,
    error::{ProvideErrorMetadata, SdkError},
    primitives::ByteStream,
};
use serde_json::Value;
use thiserror::Error;
pub use valid_orders::ValidOrders;

/// The object with the newest state of the sync: the data of the `sync_status` frame.
pub const STATUS_OBJECT: &str = "sync_status.json";

/// The object with the ids of the valid orders of the last complete listing: a JSON array of strings.
pub const VALID_ORDERS_OBJECT: &str = "valid_order_list.json";

/// How often a status is compared and written before giving up. Each lost round means that another writer won it.
const ROUNDS: u32 = 8;

/// The documents in one bucket. Clones are cheap and share connections.
#[derive(Clone, Debug)]
pub struct StatusStore {
    client: Client,
    bucket: String,
}

/// What became of a status that was to be published.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Published {
    /// It is the published one now.
    Written,
    /// One with the same or a newer `seq` stands there already, and stays.
    NewerThere,
}

/// Why a document couldn't be read or written. All but [`StatusStoreError::NoSeq`] are transient.
#[derive(Debug, Error)]
pub enum StatusStoreError {
    /// The status has no integer `seq`: a mistake of the caller.
    #[error("the status to be published has no integer `seq`")]
    NoSeq,
    /// S3 refused or couldn't be reached.
    #[error("s3://{bucket}/{object} could not be {operation}")]
    S3 {
        /// The bucket.
        bucket: String,
        /// The object.
        object: &'static str,
        /// What was tried: `read` or `written`.
        operation: &'static str,
        /// What S3 answered.
        #[source]
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// Other writers kept winning without bringing a newer status.
    #[error("s3://{bucket}/{STATUS_OBJECT} changed each time it was to be written")]
    Contended {
        /// The bucket.
        bucket: String,
    },
}

struct Current {
    etag: Option<String>,
    /// `None` if the object is no JSON: then it is replaced.
    status: Option<Value>,
}

/// An S3 client. Where `AWS_ENDPOINT_URL` is set (a local cloud), buckets are addressed by path, not by host name.
pub fn client(config: &SdkConfig) -> Client {
    let local = config.endpoint_url().is_some();
    Client::from_conf(aws_sdk_s3::config::Builder::from(config).force_path_style(local).build())
}

impl StatusStore {
    /// The documents in `bucket`.
    pub fn new(client: Client, bucket: impl Into<String>) -> Self {
        Self { client, bucket: bucket.into() }
    }

    /// Publishes a status, unless one with the same or a newer `seq` is published already.
    ///
    /// # Errors
    /// [`StatusStoreError`]: no `seq` in it, S3 unreachable, or other writers winning 8 times in a row.
    pub async fn put_status(&self, status: &Value) -> Result<Published, StatusStoreError> {
        let seq = seq_of(status).ok_or(StatusStoreError::NoSeq)?;
        for round in 0..ROUNDS {
            let current = self.read(STATUS_OBJECT).await?;
            let there = current.as_ref().and_then(|current| seq_of(current.status.as_ref()?));
            if there.is_some_and(|there| there >= seq) {
                return Ok(Published::NewerThere);
            }
            let put = self.put(STATUS_OBJECT, status.to_string().into_bytes());
            let put = match current.and_then(|current| current.etag) {
                Some(etag) => put.if_match(etag),
                None => put.if_none_match("*"),
            };
            match put.send().await {
                Ok(_) => return Ok(Published::Written),
                // 412: the object changed since; 409: another conditional write is under way; 404: it was deleted.
                Err(error) if matches!(status_code(&error), Some(404 | 409 | 412)) => {
                    tokio::time::sleep(Duration::from_millis(5 << round)).await;
                }
                Err(error) => return Err(self.error(STATUS_OBJECT, "written", error)),
            }
        }
        Err(StatusStoreError::Contended { bucket: self.bucket.clone() })
    }

    /// The published status, or `None` if there is none yet (or none that is JSON): that is the idle status.
    ///
    /// # Errors
    /// [`StatusStoreError::S3`] if S3 can't be reached.
    pub async fn get_status(&self) -> Result<Option<Value>, StatusStoreError> {
        Ok(self.read(STATUS_OBJECT).await?.and_then(|current| current.status))
    }

    /// Begins a new list of valid orders.
    #[must_use]
    pub fn valid_orders(&self) -> ValidOrders<'_> {
        ValidOrders::new(self)
    }

    fn put(
        &self,
        object: &str,
        document: Vec<u8>,
    ) -> aws_sdk_s3::operation::put_object::builders::PutObjectFluentBuilder {
        self.client
            .put_object()
            .bucket(&self.bucket)
            .key(object)
            .content_type("application/json")
            .cache_control("no-store")
            .body(ByteStream::from(document))
    }

    async fn read(&self, object: &'static str) -> Result<Option<Current>, StatusStoreError> {
        let answer = match self.client.get_object().bucket(&self.bucket).key(object).send().await {
            Ok(answer) => answer,
            // Without the permission to list, S3 says 403 for an object that isn't there; the role has it.
            Err(error) if error.code() == Some("NoSuchKey") => return Ok(None),
            Err(error) => return Err(self.error(object, "read", error)),
        };
        let etag = answer.e_tag;
        let body = answer.body.collect().await.map_err(|error| self.error(object, "read", error))?;
        Ok(Some(Current { etag, status: serde_json::from_slice(&body.into_bytes()).ok() }))
    }

    fn error(
        &self,
        object: &'static str,
        operation: &'static str,
        source: impl Into<Box<dyn std::error::Error + Send + Sync>>,
    ) -> StatusStoreError {
        StatusStoreError::S3 { bucket: self.bucket.clone(), object, operation, source: source.into() }
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

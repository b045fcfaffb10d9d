//! Reading and writing objects, and how that fails.

use std::time::Duration;

use aws_config::SdkConfig;
use aws_sdk_s3::config::{Builder, ResponseChecksumValidation};
use aws_sdk_s3::operation::put_object::builders::PutObjectFluentBuilder;
use aws_sdk_s3::presigning::PresigningConfig;
use aws_sdk_s3::{Client, error::ProvideErrorMetadata, primitives::ByteStream};
use serde_json::Value;
use thiserror::Error;

/// The object with the newest state of the sync: the data of the `sync_status` frame.
pub const STATUS_OBJECT: &str = "sync_status.json";

/// The object with the ids of the valid orders of the last complete listing: a JSON array of strings.
pub const VALID_ORDERS_OBJECT: &str = "valid_order_list.json";

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
        /// What was tried: `read`, `written` or `addressed`.
        operation: &'static str,
        /// What S3 answered.
        #[source]
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// Other writers kept winning without bringing a newer status.
    #[error("s3://{bucket}/{STATUS_OBJECT} was changed by other writers before each attempt to write it")]
    Contended {
        /// The bucket.
        bucket: String,
    },
}

/// The bucket of the documents.
#[derive(Clone, Debug)]
pub(crate) struct Bucket {
    pub(crate) client: Client,
    pub(crate) name: String,
}

/// An object as it is.
pub(crate) struct Current {
    pub(crate) etag: Option<String>,
    /// `None` if the object isn't JSON: then it is replaced.
    pub(crate) status: Option<Value>,
}

/// An S3 client. Where `AWS_ENDPOINT_URL` is set (a local cloud), buckets are addressed by path, not by host name.
pub fn client(config: &SdkConfig) -> Client {
    let local = config.endpoint_url().is_some();
    Client::from_conf(Builder::from(config).force_path_style(local).build())
}

impl Bucket {
    pub(crate) fn put(&self, object: &str, document: Vec<u8>) -> PutObjectFluentBuilder {
        self.client
            .put_object()
            .bucket(&self.name)
            .key(object)
            .content_type("application/json")
            .cache_control("no-store")
            .body(ByteStream::from(document))
    }

    pub(crate) async fn read(&self, object: &'static str) -> Result<Option<Current>, StatusStoreError> {
        let answer = match self.client.get_object().bucket(&self.name).key(object).send().await {
            Ok(answer) => answer,
            // Without the permission to list, S3 says 403 for an object that isn't there; the role has it.
            Err(error) if error.code() == Some("NoSuchKey") => return Ok(None),
            Err(error) => return Err(self.error(object, "read", error)),
        };
        let etag = answer.e_tag;
        let body = answer.body.collect().await.map_err(|error| self.error(object, "read", error))?;
        Ok(Some(Current { etag, status: serde_json::from_slice(&body.into_bytes()).ok() }))
    }

    /// Whether an object is there.
    pub(crate) async fn has(&self, object: &'static str) -> Result<bool, StatusStoreError> {
        match self.client.head_object().bucket(&self.name).key(object).send().await {
            Ok(_) => Ok(true),
            // As for reading. Its answer has no body, so only the status tells.
            Err(error) if error.raw_response().is_some_and(|answer| answer.status().as_u16() == 404) => Ok(false),
            Err(error) => Err(self.error(object, "read", error)),
        }
    }

    /// An address by which whoever has it can read an object for so long; signed here, without a call.
    pub(crate) async fn address(&self, object: &'static str, expires_in: Duration) -> Result<String, StatusStoreError> {
        let for_so_long =
            PresigningConfig::expires_in(expires_in).map_err(|error| self.error(object, "addressed", error))?;
        // Without the header by which the SDK would check what it reads: who follows the address sends none.
        let plain = Builder::new().response_checksum_validation(ResponseChecksumValidation::WhenRequired);
        let get = self.client.get_object().bucket(&self.name).key(object).customize().config_override(plain);
        let signed = get.presigned(for_so_long).await.map_err(|error| self.error(object, "addressed", error))?;
        Ok(signed.uri().to_owned())
    }

    pub(crate) fn error(
        &self,
        object: &'static str,
        operation: &'static str,
        source: impl Into<Box<dyn std::error::Error + Send + Sync>>,
    ) -> StatusStoreError {
        StatusStoreError::S3 { bucket: self.name.clone(), object, operation, source: source.into() }
    }
}

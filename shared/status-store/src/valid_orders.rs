//! `valid_order_list.json`, written in parts, so that memory doesn't grow with the number of orders.

use aws_sdk_s3::primitives::ByteStream;
use aws_sdk_s3::types::{CompletedMultipartUpload, CompletedPart};

use crate::bucket::{Bucket, StatusStoreError, VALID_ORDERS_OBJECT};

/// The smallest part that S3 accepts, except for the last.
const PART_BYTES: usize = 5 * 1024 * 1024;

/// The list of valid orders while it is written. Readers see the previous list until [`ValidOrders::finish`]. If it is dropped
/// earlier, the previous list stays, and the bucket's lifecycle rule removes the uploaded parts.
#[derive(Debug)]
pub struct ValidOrders<'a> {
    bucket: &'a Bucket,
    /// The JSON text since the last part.
    text: Vec<u8>,
    is_first: bool,
    /// Once it is more than one part.
    upload_id: Option<String>,
    parts: Vec<CompletedPart>,
}

impl<'a> ValidOrders<'a> {
    pub(crate) fn new(bucket: &'a Bucket) -> Self {
        Self { bucket, text: b"[".to_vec(), is_first: true, upload_id: None, parts: Vec::new() }
    }

    /// Appends ids, and uploads what has become a part of 5 MB.
    ///
    /// # Errors
    /// [`StatusStoreError::S3`] if S3 can't be reached.
    pub async fn append(&mut self, order_ids: &[String]) -> Result<(), StatusStoreError> {
        for id in order_ids {
            if !std::mem::take(&mut self.is_first) {
                self.text.push(b',');
            }
            self.text.extend_from_slice(serde_json::Value::from(id.as_str()).to_string().as_bytes());
        }
        if self.text.len() >= PART_BYTES { self.upload_part().await } else { Ok(()) }
    }

    /// Replaces the previous list by this one.
    ///
    /// # Errors
    /// [`StatusStoreError::S3`] if S3 can't be reached.
    pub async fn finish(mut self) -> Result<(), StatusStoreError> {
        self.text.push(b']');
        if self.upload_id.is_none() {
            let put = self.bucket.put(VALID_ORDERS_OBJECT, std::mem::take(&mut self.text));
            put.send().await.map_err(|error| self.bucket.error(VALID_ORDERS_OBJECT, "written", error))?;
            return Ok(());
        }
        self.upload_part().await?;
        let parts = CompletedMultipartUpload::builder().set_parts(Some(self.parts)).build();
        let complete =
            self.bucket.client.complete_multipart_upload().bucket(&self.bucket.name).key(VALID_ORDERS_OBJECT);
        let complete = complete.set_upload_id(self.upload_id).multipart_upload(parts).send().await;
        complete.map_err(|error| self.bucket.error(VALID_ORDERS_OBJECT, "written", error))?;
        Ok(())
    }

    async fn upload_part(&mut self) -> Result<(), StatusStoreError> {
        let (client, bucket) = (&self.bucket.client, &self.bucket.name);
        let failed =
            |error: Box<dyn std::error::Error + Send + Sync>| self.bucket.error(VALID_ORDERS_OBJECT, "written", error);
        if self.upload_id.is_none() {
            let create = client.create_multipart_upload().bucket(bucket).key(VALID_ORDERS_OBJECT);
            let created = create.content_type("application/json").cache_control("no-store").send().await;
            self.upload_id = created.map_err(|error| failed(error.into()))?.upload_id;
        }
        let number = i32::try_from(self.parts.len() + 1).unwrap_or(i32::MAX);
        let part = client.upload_part().bucket(bucket).key(VALID_ORDERS_OBJECT).part_number(number);
        let part = part.set_upload_id(self.upload_id.clone()).body(ByteStream::from(std::mem::take(&mut self.text)));
        let uploaded = part.send().await.map_err(|error| failed(error.into()))?;
        self.parts.push(CompletedPart::builder().part_number(number).set_e_tag(uploaded.e_tag).build());
        Ok(())
    }
}

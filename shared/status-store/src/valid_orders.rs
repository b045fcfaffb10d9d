//! `valid_order_list.json`, written in parts, so that memory doesn't grow with the number of orders, and so that a later
//! invocation can go on with a list that takes longer than one.

use aws_sdk_s3::primitives::ByteStream;
use aws_sdk_s3::types::{CompletedMultipartUpload, CompletedPart};
use serde::{Deserialize, Serialize};

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
    upload: Option<Upload>,
}

/// The parts of a list that are uploaded. S3 keeps them for a day.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Upload {
    id: String,
    /// One for each part.
    etags: Vec<Option<String>>,
}

impl<'a> ValidOrders<'a> {
    pub(crate) fn new(bucket: &'a Bucket) -> Self {
        Self { bucket, text: b"[".to_vec(), is_first: true, upload: None }
    }

    pub(crate) fn go_on(bucket: &'a Bucket, upload: Upload) -> Self {
        Self { bucket, text: Vec::new(), is_first: false, upload: Some(upload) }
    }

    /// Appends ids, and uploads what has become a part of 5 MB. If it did, everything so far is uploaded: then it returns what
    /// a later invocation needs to go on.
    ///
    /// # Errors
    /// [`StatusStoreError::S3`] if S3 can't be reached.
    pub async fn append(&mut self, order_ids: &[String]) -> Result<Option<Upload>, StatusStoreError> {
        for id in order_ids {
            if !std::mem::take(&mut self.is_first) {
                self.text.push(b',');
            }
            self.text.extend_from_slice(serde_json::Value::from(id.as_str()).to_string().as_bytes());
        }
        if self.text.len() < PART_BYTES {
            return Ok(None);
        }
        self.upload_part().await?;
        Ok(self.upload.clone())
    }

    /// Replaces the previous list by this one.
    ///
    /// # Errors
    /// [`StatusStoreError::S3`] if S3 can't be reached.
    pub async fn finish(mut self) -> Result<(), StatusStoreError> {
        self.text.push(b']');
        if self.upload.is_none() {
            let put = self.bucket.put(VALID_ORDERS_OBJECT, std::mem::take(&mut self.text));
            put.send().await.map_err(|error| self.bucket.error(VALID_ORDERS_OBJECT, "written", error))?;
            return Ok(());
        }
        let Upload { id, etags } = self.upload_part().await?;
        let parts =
            (1..).zip(etags).map(|(number, etag)| CompletedPart::builder().part_number(number).set_e_tag(etag).build());
        let parts = CompletedMultipartUpload::builder().set_parts(Some(parts.collect())).build();
        let complete =
            self.bucket.client.complete_multipart_upload().bucket(&self.bucket.name).key(VALID_ORDERS_OBJECT);
        let complete = complete.upload_id(id).multipart_upload(parts).send().await;
        complete.map_err(|error| self.bucket.error(VALID_ORDERS_OBJECT, "written", error))?;
        Ok(())
    }

    /// Uploads the text as the next part; the parts uploaded so far.
    async fn upload_part(&mut self) -> Result<Upload, StatusStoreError> {
        let (client, bucket) = (&self.bucket.client, &self.bucket.name);
        let failed =
            |error: Box<dyn std::error::Error + Send + Sync>| self.bucket.error(VALID_ORDERS_OBJECT, "written", error);
        let mut upload = match self.upload.take() {
            Some(upload) => upload,
            None => {
                let create = client.create_multipart_upload().bucket(bucket).key(VALID_ORDERS_OBJECT);
                let created = create.content_type("application/json").cache_control("no-store").send().await;
                let created = created.map_err(|error| failed(error.into()))?;
                Upload { id: created.upload_id.unwrap_or_default(), etags: Vec::new() }
            }
        };
        let number = i32::try_from(upload.etags.len() + 1).unwrap_or(i32::MAX);
        let part = client.upload_part().bucket(bucket).key(VALID_ORDERS_OBJECT).part_number(number);
        let part = part.upload_id(upload.id.clone()).body(ByteStream::from(std::mem::take(&mut self.text)));
        let uploaded = part.send().await.map_err(|error| failed(error.into()))?;
        upload.etags.push(uploaded.e_tag);
        self.upload = Some(upload.clone());
        Ok(upload)
    }
}

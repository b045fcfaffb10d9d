//! AWS's own doors, by plain HTTP: the local cloud asks for no signature.

use reqwest::StatusCode;
use serde_json::{Value, json};

use crate::stack::Stack;

pub(crate) struct Cloud<'a> {
    pub(crate) stack: &'a Stack,
}

impl Cloud<'_> {
    /// A published document, if it is there.
    pub(crate) async fn document(&self, name: &str) -> Option<Value> {
        let url = format!("{}/{}/{name}", self.stack.aws_endpoint_url, self.stack.bucket);
        let answer = reqwest::get(&url).await.expect("S3 answers");
        if answer.status() == StatusCode::NOT_FOUND {
            return None;
        }
        assert_eq!(answer.status(), StatusCode::OK, "{url}");
        Some(answer.json().await.expect("a JSON document"))
    }

    /// Invokes a function as a schedule does; whatever it answers, it must not fail.
    pub(crate) async fn invoke(&self, function: &str, event: Value) -> Value {
        let name = &self.stack.functions[function];
        let url = format!("{}/2015-03-31/functions/{name}/invocations", self.stack.aws_endpoint_url);
        let answer = reqwest::Client::new().post(url).json(&event).send().await.expect("Lambda answers");
        let (status, error) = (answer.status(), answer.headers().get("x-amz-function-error").cloned());
        let text = answer.text().await.unwrap();
        assert!(status.is_success() && error.is_none(), "{function}: {status} {error:?} {text}");
        serde_json::from_str(&text).unwrap_or_default()
    }

    /// Puts a message into a queue; its id.
    pub(crate) async fn send(&self, queue: &str, message: &str) -> String {
        let sent =
            self.sqs("SendMessage", json!({ "QueueUrl": self.stack.queues[queue], "MessageBody": message })).await;
        sent["MessageId"].as_str().unwrap_or_else(|| panic!("{sent}")).to_owned()
    }

    /// Whether a queue holds no message, neither waiting nor in work nor delayed.
    pub(crate) async fn is_empty(&self, queue: &str) -> Result<(), String> {
        let names = ["", "NotVisible", "Delayed"].map(|which| format!("ApproximateNumberOfMessages{which}"));
        let request = json!({ "QueueUrl": self.stack.queues[queue], "AttributeNames": names });
        let attributes = self.sqs("GetQueueAttributes", request).await;
        let empty = names.iter().all(|name| attributes["Attributes"][name.as_str()] == "0");
        if empty { Ok(()) } else { Err(attributes.to_string()) }
    }

    async fn sqs(&self, action: &str, request: Value) -> Value {
        let answer = reqwest::Client::new()
            .post(&self.stack.aws_endpoint_url)
            .header("content-type", "application/x-amz-json-1.0")
            .header("x-amz-target", format!("AmazonSQS.{action}"))
            // Which service is meant stands in the credential's scope; nobody checks the signature here.
            .header("authorization", "AWS4-HMAC-SHA256 Credential=test/20260101/us-east-1/sqs/aws4_request")
            .body(request.to_string())
            .send()
            .await
            .expect("SQS answers");
        let (status, text) = (answer.status(), answer.text().await.unwrap());
        serde_json::from_str(&text).unwrap_or_else(|_| panic!("SQS: {status} {text}"))
    }
}

//! AWS's own doors, as the account's owner.

use std::time::SystemTime;

use aws_credential_types::Credentials;
use aws_sigv4::http_request::{SignableBody, SignableRequest, SigningSettings, sign};
use aws_sigv4::sign::v4::SigningParams;
use reqwest::{Method, Response, StatusCode};
use serde_json::{Value, json};

use crate::stack::Stack;

/// The AWS account of a stack.
pub struct Cloud<'a> {
    stack: &'a Stack,
    http: reqwest::Client,
}

impl<'a> Cloud<'a> {
    /// The account of this stack.
    pub fn of(stack: &'a Stack) -> Self {
        Self { stack, http: crate::http() }
    }

    /// A published document, if it is there.
    pub async fn document(&self, name: &str) -> Option<Value> {
        let url = format!("{}/{}/{name}", self.stack.aws_endpoint_url, self.stack.bucket);
        let answer = self.call("s3", Method::GET, &url, &[], Vec::new()).await;
        if answer.status() == StatusCode::NOT_FOUND {
            return None;
        }
        assert_eq!(answer.status(), StatusCode::OK, "{url}");
        Some(answer.json().await.expect("a JSON document"))
    }

    /// Removes a published document.
    pub async fn remove_document(&self, name: &str) {
        let url = format!("{}/{}/{name}", self.stack.aws_endpoint_url, self.stack.bucket);
        let answer = self.call("s3", Method::DELETE, &url, &[], Vec::new()).await;
        assert!(answer.status().is_success(), "{url}: {}", answer.status());
    }

    /// Invokes a function as a schedule does; whatever it answers, it must not fail.
    pub async fn invoke(&self, function: &str, event: Value) -> Value {
        self.try_invoke(function, event).await.unwrap_or_else(|| panic!("{function} failed"))
    }

    /// The same, but it may refuse the event.
    pub async fn try_invoke(&self, function: &str, event: Value) -> Option<Value> {
        let name = &self.stack.functions[function];
        let url = format!("{}/2015-03-31/functions/{name}/invocations", self.stack.aws_endpoint_url);
        let answer = self.call("lambda", Method::POST, &url, &[], event.to_string().into_bytes()).await;
        let (status, error) = (answer.status(), answer.headers().get("x-amz-function-error").cloned());
        let text = answer.text().await.unwrap();
        assert!(status.is_success(), "{function}: {status} {text}");
        error.is_none().then(|| serde_json::from_str(&text).unwrap_or_default())
    }

    /// Puts a message into a queue; its id.
    pub async fn send(&self, queue: &str, message: &str) -> String {
        let sent =
            self.sqs("SendMessage", json!({ "QueueUrl": self.stack.queues[queue], "MessageBody": message })).await;
        sent["MessageId"].as_str().unwrap_or_else(|| panic!("{sent}")).to_owned()
    }

    /// Whether a queue holds no message, neither waiting nor in work nor delayed.
    pub async fn is_empty(&self, queue: &str) -> Result<(), String> {
        let names = ["", "NotVisible", "Delayed"].map(|which| format!("ApproximateNumberOfMessages{which}"));
        let request = json!({ "QueueUrl": self.stack.queues[queue], "AttributeNames": names });
        let attributes = self.sqs("GetQueueAttributes", request).await;
        let empty = names.iter().all(|name| attributes["Attributes"][name.as_str()] == "0");
        if empty { Ok(()) } else { Err(attributes.to_string()) }
    }

    /// Stores a secret in the parameter store, as an operator does who changes it.
    pub async fn put_secret(&self, name: &str, value: &str) {
        let request = json!({ "Name": name, "Value": value, "Type": "SecureString", "Overwrite": true });
        let headers = [("content-type", "application/x-amz-json-1.1"), ("x-amz-target", "AmazonSSM.PutParameter")];
        let url = format!("{}/", self.stack.aws_endpoint_url);
        let answer = self.call("ssm", Method::POST, &url, &headers, request.to_string().into_bytes()).await;
        assert!(answer.status().is_success(), "{name}: {}", answer.text().await.unwrap());
    }

    /// A secret as it is stored, if it is.
    pub async fn secret(&self, name: &str) -> Option<String> {
        let request = json!({ "Name": name, "WithDecryption": true });
        let headers = [("content-type", "application/x-amz-json-1.1"), ("x-amz-target", "AmazonSSM.GetParameter")];
        let url = format!("{}/", self.stack.aws_endpoint_url);
        let answer = self.call("ssm", Method::POST, &url, &headers, request.to_string().into_bytes()).await;
        let found: Value = answer.json().await.expect("SSM answers with JSON");
        found["Parameter"]["Value"].as_str().map(str::to_owned)
    }

    /// Posts a frame to a dashboard's connection, as the functions do; the status.
    pub async fn post_frame(&self, connection_id: &str, frame: &str) -> StatusCode {
        let stage = self.stack.websocket_url.replacen("ws", "http", 1);
        let url = format!("{stage}/@connections/{}", connection_id.replace('=', "%3D"));
        let headers = [("content-type", "application/json")];
        self.call("execute-api", Method::POST, &url, &headers, frame.as_bytes().to_vec()).await.status()
    }

    async fn sqs(&self, action: &str, request: Value) -> Value {
        let target = format!("AmazonSQS.{action}");
        let headers = [("content-type", "application/x-amz-json-1.0"), ("x-amz-target", target.as_str())];
        let url = format!("{}/", self.stack.aws_endpoint_url);
        let answer = self.call("sqs", Method::POST, &url, &headers, request.to_string().into_bytes()).await;
        let (status, text) = (answer.status(), answer.text().await.unwrap());
        serde_json::from_str(&text).unwrap_or_else(|_| panic!("SQS: {status} {text}"))
    }

    /// A signed call; the local cloud checks signatures as AWS does.
    async fn call(
        &self,
        service: &str,
        method: Method,
        url: &str,
        headers: &[(&str, &str)],
        body: Vec<u8>,
    ) -> Response {
        let owner = Credentials::new("test", "test", None, None, "tests").into();
        let params = SigningParams::builder()
            .identity(&owner)
            .region("us-east-1")
            .name(service)
            .time(SystemTime::now())
            .settings(SigningSettings::default())
            .build()
            .expect("nothing is missing")
            .into();
        let signable =
            SignableRequest::new(method.as_str(), url, headers.iter().copied(), SignableBody::Bytes(&body)).unwrap();
        let (signature, _) = sign(signable, &params).expect("a request can be signed").into_parts();
        let mut request = self.http.request(method, url).body(body);
        for (name, value) in headers.iter().copied().chain(signature.headers()) {
            request = request.header(name, value);
        }
        request.send().await.unwrap_or_else(|error| panic!("{service} doesn't answer: {error}"))
    }
}

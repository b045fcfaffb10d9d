//! The AWS SDK's calls through our HTTP client, instead of one that the SDK would bring along.

use std::time::Duration;

use aws_smithy_runtime_api::client::http::{
    HttpClient, HttpConnector, HttpConnectorFuture, HttpConnectorSettings, SharedHttpClient, SharedHttpConnector,
};
use aws_smithy_runtime_api::client::orchestrator::{HttpRequest, HttpResponse};
use aws_smithy_runtime_api::client::result::ConnectorError;
use aws_smithy_runtime_api::client::runtime_components::RuntimeComponents;
use aws_smithy_types::body::SdkBody;
use reqwest::{Body, Client};

/// Longest wait for a connection: AWS is near, and a second attempt is better than a long first one.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(2);

/// What a `SdkConfig` is to be given as its HTTP client. Attempts and their time-outs remain the SDK's; a connection is given up
/// after 2 s, whatever the SDK's settings say.
///
/// Addresses are sent as the `url` crate writes them, which takes out `.` and `..`: a name that holds these as a part of its path
/// would be refused for its signature. None of ours does.
#[must_use]
pub fn for_aws() -> SharedHttpClient {
    SharedHttpClient::new(Connector(crate::client(CONNECT_TIMEOUT).map_err(|error| error.to_string())))
}

/// The client, or why there is none: the SDK asks for one where nothing can fail, so each call says it.
#[derive(Clone, Debug)]
struct Connector(Result<Client, String>);

impl HttpClient for Connector {
    fn http_connector(&self, _: &HttpConnectorSettings, _: &RuntimeComponents) -> SharedHttpConnector {
        SharedHttpConnector::new(self.clone())
    }
}

impl HttpConnector for Connector {
    fn call(&self, request: HttpRequest) -> HttpConnectorFuture {
        let client = self.0.clone();
        HttpConnectorFuture::new(async move {
            let client = client.map_err(|error| ConnectorError::user(error.into()))?;
            let request = request.try_into_http1x().map_err(|error| ConnectorError::user(error.into()))?;
            let request = request.map(Body::wrap).try_into().map_err(connector_error)?;
            let response: http::Response<Body> = client.execute(request).await.map_err(connector_error)?.into();
            HttpResponse::try_from(response.map(SdkBody::from_body_1_x))
                .map_err(|error| ConnectorError::other(error.into(), None))
        })
    }
}

/// The SDK tries a call again after a time-out and after a failure to send or receive; not if the request was none.
fn connector_error(error: reqwest::Error) -> ConnectorError {
    match &error {
        timeout if timeout.is_timeout() => ConnectorError::timeout(error.into()),
        builder if builder.is_builder() => ConnectorError::user(error.into()),
        _ => ConnectorError::io(error.into()),
    }
}

#[cfg(test)]
mod tests {
    use std::net::TcpListener;

    use wiremock::matchers::{body_string, header, method, path};
    use wiremock::{Mock, MockServer, ResponseTemplate};

    use super::*;

    async fn call(request: HttpRequest) -> Result<HttpResponse, ConnectorError> {
        Connector(Ok(crate::client(CONNECT_TIMEOUT).unwrap())).call(request).await
    }

    fn post(url: &str, body: SdkBody) -> HttpRequest {
        let request = http::Request::post(url).header("x-amz-target", "AmazonSSM.GetParameter").body(body).unwrap();
        HttpRequest::try_from(request).unwrap()
    }

    #[tokio::test]
    async fn a_request_and_its_answer_pass_unchanged() {
        let server = MockServer::start().await;
        Mock::given(method("POST"))
            .and(path("/bucket/a%20b/@connections/c%3D"))
            .and(header("x-amz-target", "AmazonSSM.GetParameter"))
            .and(header("content-length", "2"))
            .and(body_string("{}"))
            .respond_with(ResponseTemplate::new(412).insert_header("etag", "\"1\"").set_body_string("refused"))
            .mount(&server)
            .await;
        let url = format!("{}/bucket/a%20b/@connections/c%3D", server.uri());
        let mut answer = call(post(&url, SdkBody::from("{}"))).await.unwrap();
        assert_eq!((answer.status().as_u16(), answer.headers().get("etag")), (412, Some("\"1\"")));
        let body = std::mem::replace(answer.body_mut(), SdkBody::taken());
        let body = reqwest::Response::from(http::Response::new(Body::wrap(body)));
        assert_eq!(body.text().await.unwrap(), "refused");
    }

    #[tokio::test]
    async fn a_redirect_is_an_answer() {
        let (server, elsewhere) = (MockServer::start().await, MockServer::start().await);
        let redirect = ResponseTemplate::new(307).insert_header("location", elsewhere.uri());
        Mock::given(method("POST")).respond_with(redirect).mount(&server).await;
        assert_eq!(call(post(&server.uri(), SdkBody::empty())).await.unwrap().status().as_u16(), 307);
        assert!(elsewhere.received_requests().await.unwrap().is_empty());
    }

    #[tokio::test]
    async fn what_failed_on_the_way_may_be_tried_again() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        drop(listener);
        let refused = call(post(&url, SdkBody::empty())).await.unwrap_err();
        assert!(refused.is_io(), "{refused:?}");

        // Takes the connection, and ends it without an answer.
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let server = std::thread::spawn(move || drop(listener.accept()));
        let cut = call(post(&url, SdkBody::empty())).await.unwrap_err();
        assert!(cut.is_io(), "{cut:?}");
        server.join().unwrap();
    }

    #[tokio::test]
    async fn without_a_client_each_call_says_why() {
        let none = Connector(Err("no root certificates".to_owned()));
        let error = none.call(post("http://127.0.0.1:9", SdkBody::empty())).await.unwrap_err();
        assert!(error.is_user() && format!("{error:?}").contains("no root certificates"), "{error:?}");
    }
}

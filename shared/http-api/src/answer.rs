use http::StatusCode;
use serde::Serialize;

use crate::ApiError;
use crate::response::{Response, of_json};

/// A JSON answer.
///
/// # Errors
/// An internal [`ApiError`] if `body` can't be written as JSON, which is a mistake in its type.
pub fn json<T: Serialize + ?Sized>(status: StatusCode, body: &T) -> Result<Response, ApiError> {
    Ok(of_json(status, serde_json::to_string(body).map_err(ApiError::internal)?))
}

#[cfg(test)]
mod tests {
    use lambda_http::Body;

    use super::*;
    use crate::response::SECURITY_HEADERS;

    #[test]
    fn an_answer_is_json_with_the_security_headers() {
        let answer = json(StatusCode::ACCEPTED, &["a"]).unwrap();
        assert_eq!(answer.status(), 202);
        assert_eq!(answer.headers().len(), SECURITY_HEADERS.len() + 1);
        assert_eq!(answer.body(), &Body::from(r#"["a"]"#));
    }
}

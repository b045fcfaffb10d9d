//! Forgets a person, as an admin asks: in the database, which GHL's own data and what was printed or exported before don't follow.

use std::time::Duration;

use database::{Database, Forgotten};
use domain::ContactId;
use domain::frames::utc_ms;
use http_api::{ApiError, Caller, Response, Role, StatusCode, json};
use serde_json::json;
use tokio::time::timeout;

/// Longest wait for all portions. Asked again, it goes on where it was.
const FORGET_WITHIN: Duration = Duration::from_secs(20);

/// Marks the contact and blanks its orders.
pub(crate) async fn forget(database: &Database, contact_id: &str, caller: &Caller) -> Result<Response, ApiError> {
    caller.require(Role::Admin)?;
    let contact_id = ContactId::try_new(contact_id).map_err(|_| invalid_contact_id())?;
    let forgetting = timeout(FORGET_WITHIN, until_done(database, &contact_id, &caller.user_id)).await;
    let forgotten = match forgetting {
        Ok(forgotten) => forgotten.map_err(|error| ApiError::database_unavailable().caused_by(error))?,
        Err(elapsed) => return Err(ApiError::timed_out().caused_by(elapsed)),
    };
    json(
        StatusCode::OK,
        &json!({
            "contactId": contact_id, "forgottenAt": utc_ms(forgotten.forgotten_at), "forgottenBy": forgotten.forgotten_by,
            "orders": forgotten.orders,
        }),
    )
}

async fn until_done(database: &Database, contact_id: &ContactId, by: &str) -> Result<Forgotten, database::Error> {
    loop {
        let forgotten = database.forget_contact(contact_id, by).await?;
        if forgotten.done {
            return Ok(forgotten);
        }
    }
}

fn invalid_contact_id() -> ApiError {
    ApiError::bad_request("invalid_contact_id", "A contact id must be 1 to 64 letters, digits, '-' or '_'")
}

#[cfg(test)]
mod tests {
    use serde_json::Value;
    use wiremock::matchers::{body_json, path};
    use wiremock::{Mock, MockServer, ResponseTemplate};

    use super::*;

    fn database(url: &str) -> Database {
        let key = ("SUPABASE_SERVICE_ROLE_KEY", "invented");
        let env = settings::Env::of([("SUPABASE_URL", url), key, ("GHL_LOCATION_ID", "loc")]);
        wiring::database(&env, wiring::HttpClient::new().unwrap()).unwrap()
    }

    fn caller(role: Role) -> Caller {
        Caller { user_id: "u1".to_owned(), role, expires_at: i64::MAX }
    }

    /// What a caller gets, where the database answers so, one answer after the other.
    async fn answer_to(contact_id: &str, role: Role, answers: &[(u64, bool)]) -> (u16, Value) {
        let server = MockServer::start().await;
        let request = json!({"request": {"contact_id": contact_id, "by": "u1", "location_id": "loc"}});
        for (orders, done) in answers {
            let forgotten = json!({
                "contact_id": contact_id, "forgotten_at": "2026-05-01T12:00:00.123456+02:00", "forgotten_by": "u1",
                "orders": orders, "done": done,
            });
            Mock::given(path("/rest/v1/rpc/forget_contact"))
                .and(body_json(&request))
                .respond_with(ResponseTemplate::new(200).set_body_json(forgotten))
                .up_to_n_times(1)
                .expect(1)
                .mount(&server)
                .await;
        }
        let database = database(&server.uri());
        let answer = http_api::respond(forget(&database, contact_id, &caller(role)), "req-1").await;
        (answer.status().as_u16(), serde_json::from_slice(answer.body()).unwrap())
    }

    #[tokio::test]
    async fn the_database_is_asked_until_all_orders_are_blanked() {
        let answer = answer_to("c1", Role::Admin, &[(0, false), (500, false), (501, true)]).await;
        let body = json!({
            "contactId": "c1", "forgottenAt": "2026-05-01T10:00:00.123Z", "forgottenBy": "u1", "orders": 501,
        });
        assert_eq!(answer, (200, body));
    }

    #[tokio::test]
    async fn a_member_or_a_strange_id_never_reaches_the_database() {
        for (contact_id, role, status, code) in [
            ("c1", Role::Member, 403, "admin_required"),
            ("a b", Role::Admin, 400, "invalid_contact_id"),
            ("", Role::Admin, 400, "invalid_contact_id"),
        ] {
            let (got, body) = answer_to(contact_id, role, &[]).await;
            assert_eq!((got, &body["code"]), (status, &json!(code)), "{contact_id:?}");
        }
    }

    #[tokio::test]
    async fn a_database_that_is_away_is_said_so() {
        let (status, body) = answer_to("c1", Role::Admin, &[(0, false)]).await;
        assert_eq!((status, &body["code"]), (503, &json!("database_unavailable")));
    }
}

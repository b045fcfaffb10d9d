//! A session ends to the second, by whatever its token or ticket is signed.

use super::*;

/// By which Supabase's clock and ours may differ.
const LEEWAY: i64 = 60;

const YEAR: i64 = 365 * 24 * 60 * 60;

#[tokio::test]
async fn the_token_of_a_session_that_has_ended_is_refused_to_the_second() {
    let (es, rs, hs) = (es256(), rs256(), EncodingKey::from_secret(b"old project"));
    let server = supabase(&[public(&es, Algorithm::ES256, "es"), public(&rs, Algorithm::RS256, "rs")]).await;
    let authorizer = authorizer(&server, &[("SUPABASE_JWT_SECRET", "old project")]);
    for (key, algorithm, kid) in
        [(&es, Algorithm::ES256, Some("es")), (&rs, Algorithm::RS256, Some("rs")), (&hs, Algorithm::HS256, None)]
    {
        let ends_at = |exp: Value| {
            let mut claims = claims(&server);
            claims["exp"] = exp;
            sign(&claims, key, algorithm, kid)
        };
        assert!(admits(&authorizer, &ends_at(json!(now() + 1))).await, "{algorithm:?}");
        loop {
            let second = now();
            let is_admitted = admits(&authorizer, &ends_at(json!(second - LEEWAY))).await;
            // If the second has turned meanwhile, nothing is proven.
            if now() == second {
                assert!(is_admitted, "{algorithm:?}: the leeway's last second");
                break;
            }
        }
        for ago in [LEEWAY + 1, 5 * LEEWAY, 3600, 24 * 3600, YEAR, 10 * YEAR, now(), now() + 1] {
            let token = ends_at(json!(now() - ago));
            assert!(!admits(&authorizer, &token).await, "{algorithm:?}: ended {ago} s ago");
        }
        for never in [json!(null), json!("never"), json!(true), json!([now() + 600])] {
            assert!(!admits(&authorizer, &ends_at(never.clone())).await, "{algorithm:?}: ends {never}");
        }
    }
}

/// To this second and not to the leeway's: the ticket is our own, and so is the clock.
#[tokio::test]
async fn the_ticket_of_a_session_that_has_ended_opens_no_socket() {
    let server = supabase(&[]).await;
    let authorizer = authorizer(&server, &[]);
    for (left, effect) in [(60, "Allow"), (0, "Deny"), (-1, "Deny"), (-3600, "Deny"), (-10 * YEAR, "Deny")] {
        let caller = Caller { user_id: "user-1".to_owned(), role: Role::Admin, expires_at: now() + left };
        let ticket = ws_ticket::make(&SecretString::from(SECRET), &caller, "loc").unwrap().ticket;
        let answer = authorizer.answer(socket_event(&ticket, &json!({}))).await.unwrap();
        assert_eq!(answer["policyDocument"]["Statement"][0]["Effect"], effect, "{left} s left");
    }
}

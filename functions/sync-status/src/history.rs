//! What is known of one order, for whoever is asked about it: never who bought it.

use database::{Database, OrderFacts, OrderFailure, OrderHistory, OrderIssue, OrderLine, TicketChange, TicketFacts};
use domain::OrderId;
use domain::frames::utc_ms;
use http_api::{ApiError, Request, Response, StatusCode, json, request};
use serde_json::{Value, json};

use crate::cursor::bad_cursor;

/// The answer to `GET /api/qrapp/orders/{id}/history`.
pub(crate) async fn answer(database: &Database, order_id: &str, request: &Request) -> Result<Response, ApiError> {
    let order_id = OrderId::try_new(order_id).map_err(|_| ApiError::invalid_order_id())?;
    let limit = request::query_number(request, "limit", 100, 1..=1000)?;
    let before = request::query(request, "before");
    let history = database.order_history(&order_id, before, limit).await.map_err(bad_cursor)?;
    if !history.found {
        return Err(ApiError::not_found("order_not_found", "Nothing is known of this order here: sync it first"));
    }
    json(StatusCode::OK, &report(&order_id, &history))
}

fn report(order_id: &OrderId, history: &OrderHistory) -> Value {
    json!({
        "orderId": order_id,
        "order": history.order.as_ref().map(facts),
        "tickets": history.tickets.iter().map(ticket).collect::<Vec<_>>(),
        "changes": history.changes.iter().map(change).collect::<Vec<_>>(),
        "failures": history.failures.iter().map(failure).collect::<Vec<_>>(),
        "issues": history.issues.iter().map(issue).collect::<Vec<_>>(),
        "next": history.next,
    })
}

fn facts(order: &OrderFacts) -> Value {
    json!({
        "status": order.status,
        "paymentStatus": order.payment_status,
        "totalPaid": order.total_paid,
        "amountRefunded": order.refunded,
        "currency": order.currency,
        "eventName": order.event_name,
        "createdAt": order.date_added.map(utc_ms),
        "updatedAt": order.source_updated_at.map(utc_ms),
        "readAt": order.fetched_at.map(utc_ms),
        "liveMode": order.live_mode,
        "valid": order.valid,
        "entitled": order.entitled,
        "entitlementReason": order.entitlement_reason,
        "lines": order.lines.as_ref().map(|lines| lines.iter().map(line).collect::<Vec<_>>()),
        "ticketsDue": order.is_due,
        "forgotten": order.forgotten,
    })
}

fn line(line: &OrderLine) -> Value {
    let id = |id: &str| (!id.is_empty()).then(|| id.to_owned());
    json!({
        "productId": id(&line.product_id), "priceId": id(&line.price_id), "ticketType": line.ticket_type,
        "quantity": line.quantity,
    })
}

fn ticket(ticket: &TicketFacts) -> Value {
    json!({
        "ticketId": ticket.ticket_id, "type": ticket.ticket_type, "status": ticket.status,
        "validatedAt": ticket.validated_at.map(utc_ms),
    })
}

fn change(change: &TicketChange) -> Value {
    let relabelled = change.new_type.as_ref().zip(change.old_type.as_ref()).filter(|(new, old)| new != old);
    let reason = match relabelled {
        Some((new, old)) if change.old_status == change.new_status => {
            Some(format!("renamed from \u{201c}{old}\u{201d} to \u{201c}{new}\u{201d}"))
        }
        _ => change.reason.clone(),
    };
    json!({
        "at": utc_ms(change.changed_at),
        "ticketId": change.ticket_id,
        "from": change.old_status,
        "to": change.new_status,
        "by": who(&change.changed_by),
        "reason": reason,
    })
}

/// Who changed a ticket, in words; an unknown word is returned as it is.
fn who(changed_by: &str) -> &str {
    match changed_by {
        "sync" => "Sync",
        "gate" => "Gate",
        "admin" => "Admin",
        "external" => "Somebody outside of ghl-sync",
        other => other,
    }
}

fn failure(row: &OrderFailure) -> Value {
    json!({
        "at": row.at.map(utc_ms), "runId": row.run_id, "cause": row.cause, "class": row.class, "code": row.code,
        "reason": row.reason, "attempts": row.attempts,
    })
}

fn issue(row: &OrderIssue) -> Value {
    json!({ "at": utc_ms(row.at), "runId": row.run_id, "code": row.code, "message": row.message })
}

#[cfg(test)]
mod tests {
    use lambda_http::Body;
    use lambda_http::request::from_str;
    use wiremock::matchers::{body_json, path};
    use wiremock::{Mock, MockServer, ResponseTemplate};

    use super::*;

    const AT: &str = "2026-05-01T12:00:00.123456+02:00";
    const SHOWN: &str = "2026-05-01T10:00:00.123Z";

    fn history() -> Value {
        let changed = |by: &str, from: Option<&str>, to: &str, types: [&str; 2]| {
            json!({
                "change_id": 1, "ticket_id": 7, "changed_at": AT, "changed_by": by, "reason": "entitled", "old_status": from,
                "new_status": to, "old_type": types[0], "new_type": types[1],
            })
        };
        json!({
            "found": true,
            "order": {
                "status": "completed", "payment_status": "paid", "total_paid": 150.1, "refunded": 50, "currency": "EUR",
                "event_name": "Spring Gala", "date_added": AT, "source_updated_at": AT, "fetched_at": null, "live_mode": true,
                "entitled": true, "entitlement_reason": "paid", "is_due": false, "valid": true, "forgotten": true,
                "lines": [{"product_id": "p1", "price_id": "", "ticket_type": "VIP", "quantity": 2}],
            },
            "tickets": [{"ticket_id": 7, "ticket_type": "VIP", "status": "validated", "validated_at": AT}],
            "changes": [
                changed("external", Some("validated"), "live", ["VIP", "VIP"]),
                changed("gate", Some("live"), "validated", ["VIP", "VIP"]),
                changed("sync", Some("live"), "live", ["Regular", "VIP"]),
                changed("a new way", None, "live", ["VIP", "VIP"]),
            ],
            "failures": [{"run_id": null, "at": AT, "cause": "webhook", "class": "auth", "code": "ghl_unauthorized",
                "reason": "refused", "attempts": 1}],
            "issues": [{"run_id": "r1", "at": AT, "code": "partial_refund", "message": "50 EUR were refunded"}],
            "next": "1",
        })
    }

    /// What a caller gets where the database answers so.
    async fn answer_to(order_id: &str, query: &str, asks: Value, says: ResponseTemplate) -> (u16, Value) {
        let server = MockServer::start().await;
        let of_order = Mock::given(path("/rest/v1/rpc/order_history")).and(body_json(json!({ "request": asks })));
        of_order.respond_with(says).mount(&server).await;
        let key = ("SUPABASE_SERVICE_ROLE_KEY", "invented");
        let env = settings::Env::of([("SUPABASE_URL", server.uri().as_str()), key, ("GHL_LOCATION_ID", "loc")]);
        let database = wiring::database(&env, wiring::HttpClient::new().unwrap()).unwrap();
        let event = json!({
            "version": "2.0", "routeKey": "GET /x", "rawPath": "/x", "rawQueryString": query, "headers": {},
            "requestContext": {"stage": "$default", "requestId": "req-1", "http": {"method": "GET", "path": "/x"}},
            "isBase64Encoded": false,
        });
        let request = from_str(&event.to_string()).unwrap();
        let answer = http_api::respond(answer(&database, order_id, &request), "req-1").await;
        let body = match answer.body() {
            Body::Text(text) => serde_json::from_str(text).unwrap(),
            other => panic!("{other:?}"),
        };
        (answer.status().as_u16(), body)
    }

    fn asks(before: Option<&str>, limit: u32) -> Value {
        json!({"order_id": "o1", "before": before, "limit": limit, "location_id": "loc"})
    }

    fn says(answer: &Value) -> ResponseTemplate {
        ResponseTemplate::new(200).set_body_json(answer)
    }

    #[tokio::test]
    async fn an_order_is_told_with_its_tickets_and_what_was_done_to_them() {
        let (status, told) = answer_to("o1", "", asks(None, 100), says(&history())).await;
        let order = json!({
            "status": "completed", "paymentStatus": "paid", "totalPaid": 150.1, "amountRefunded": 50, "currency": "EUR",
            "eventName": "Spring Gala", "createdAt": SHOWN, "updatedAt": SHOWN, "readAt": null, "liveMode": true, "valid": true,
            "entitled": true, "entitlementReason": "paid", "ticketsDue": false, "forgotten": true,
            "lines": [{"productId": "p1", "priceId": null, "ticketType": "VIP", "quantity": 2}],
        });
        assert_eq!((status, &told["order"]), (200, &order));
        assert_eq!(
            told["tickets"],
            json!([{"ticketId": 7, "type": "VIP", "status": "validated", "validatedAt": SHOWN}])
        );
        let by = |nth: usize| {
            (told["changes"][nth]["by"].as_str().unwrap(), told["changes"][nth]["reason"].as_str().unwrap())
        };
        assert_eq!(by(0), ("Somebody outside of ghl-sync", "entitled"));
        assert_eq!(by(1), ("Gate", "entitled"));
        assert_eq!(by(2), ("Sync", "renamed from \u{201c}Regular\u{201d} to \u{201c}VIP\u{201d}"));
        assert_eq!(by(3), ("a new way", "entitled"));
        let first = json!({
            "at": SHOWN, "ticketId": 7, "from": "validated", "to": "live", "by": "Somebody outside of ghl-sync",
            "reason": "entitled",
        });
        assert_eq!(told["changes"][0], first);
        assert_eq!(told["failures"][0]["code"], "ghl_unauthorized");
        assert_eq!(told["issues"][0]["message"], "50 EUR were refunded");
        assert_eq!((&told["orderId"], &told["next"]), (&json!("o1"), &json!("1")));
    }

    #[tokio::test]
    async fn what_was_deleted_is_told_without_an_order() {
        let mut deleted = history();
        deleted["order"] = Value::Null;
        let (status, told) = answer_to("o1", "before=9&limit=5", asks(Some("9"), 5), says(&deleted)).await;
        assert_eq!((status, &told["order"]), (200, &Value::Null));
    }

    #[tokio::test]
    async fn what_is_not_known_or_no_order_is_refused() {
        let mut unknown = history();
        unknown["found"] = json!(false);
        let (status, body) = answer_to("o1", "", asks(None, 100), says(&unknown)).await;
        assert_eq!((status, &body["code"]), (404, &json!("order_not_found")));
        let (status, body) = answer_to("o%201", "", asks(None, 100), says(&unknown)).await;
        assert_eq!((status, &body["code"]), (400, &json!("invalid_order_id")));
        let refused = ResponseTemplate::new(400).set_body_json(json!({"code": "22P02", "message": "invalid input"}));
        let (status, body) = answer_to("o1", "before=x", asks(Some("x"), 100), refused).await;
        assert_eq!((status, &body["code"]), (400, &json!("invalid_parameter")));
        let down = ResponseTemplate::new(503);
        let (status, body) = answer_to("o1", "", asks(None, 100), down).await;
        assert_eq!((status, &body["code"]), (503, &json!("database_unavailable")));
    }
}

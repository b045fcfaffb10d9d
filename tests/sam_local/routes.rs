//! Each route of the template through `start-api`.

use reqwest::Method;
use serde_json::{Value, json};
use tests::{
    api::{Answer, Api, As},
    dashboard::connect,
    fake_ghl::new_id,
    waiting::A_SMALL_RUN,
    world::{World, assert_adds_up},
};

use crate::sam::{Route, Template, http_api, variable};

/// What the routes are asked about.
struct Scene {
    world: World,
    door: Api,
    /// A stored order, and its ticket.
    order_id: String,
    ticket_id: Value,
    /// A run that has ended.
    run_id: String,
}

impl Scene {
    async fn set() -> Self {
        let (world, door) = (World::with_orders(4).await, http_api());
        let order_id = new_id();
        world.ghl.put(&order_id, json!({})).await;
        world.api.sync(&order_id).await;
        let ticket_id = world.database.until_tickets(&order_id, 1, "live").await[0]["ticket_id"].clone();
        let run = world.complete("/api/ghl/orders/sync?mode=incremental", A_SMALL_RUN).await;
        let run_id = run["run_id"].as_str().unwrap().to_owned();
        Self { world, door, order_id, ticket_id, run_id }
    }

    /// Asks as the least that may.
    async fn ask(&self, who: As, method: &Method, path: &str) -> Answer {
        Answer::to(self.door.request(who, method.clone(), path)).await
    }

    /// GHL lists slowly, so that a run is still under way when it is looked at.
    async fn slow_listing(&self) {
        let slow = json!({ "endpoint": "list", "fault": { "kind": "delay", "ms": 2000 } });
        self.world.ghl.fail(slow).await;
    }

    /// A run that was started is worked off by the stack, from the queue into which the container put its first pulse.
    async fn assert_completes(&self, started: &Answer) {
        assert_eq!(started.status, 202, "{started:?}");
        self.world.ghl.heal().await;
        let run_id = started.body["runId"].as_str().unwrap_or_else(|| panic!("no runId: {started:?}"));
        let row = self.world.until_ended(run_id, A_SMALL_RUN).await;
        assert_eq!(row["state"], "Delay", "{row}");
        assert_adds_up(&row);
        self.world.database.end_cooldown().await;
    }

    async fn check(&self, route: &Route) {
        let (method, path) = route.name.split_once(' ').unwrap();
        let method: Method = method.parse().unwrap();
        match route.name.as_str() {
            "POST /api/ghl/webhook-qr" => self.webhook(path).await,
            "GET /api/ghl/orders/{id}" | "POST /api/ghl/orders/{id}" => self.order(&method).await,
            "GET /api/ghl/orders/sync" | "POST /api/ghl/orders/sync" => self.start(&method, path).await,
            "POST /api/ghl/orders/sync/cancel" => self.cancel(path).await,
            "POST /api/ghl/orders" => self.assert_completes(&self.ask(As::Admin, &method, path).await).await,
            "GET /api/qrapp/sync-status" => {
                let status = self.ask(As::Member, &method, path).await.ok();
                assert!(status["syncInProgress"].is_boolean() && status["runId"].is_string(), "{status}");
            }
            "GET /api/qrapp/valid-orders" => {
                let (answer, location) = self.door.led_by(As::Member, path).await;
                assert!(answer.status == 302 && location.contains("/valid_order_list.json?"), "{answer:?}");
            }
            "GET /api/qrapp/runs" => {
                let runs = self.ask(As::Member, &method, "/api/qrapp/runs?limit=1").await.ok();
                assert_eq!(runs["runs"].as_array().map(Vec::len), Some(1), "{runs}");
            }
            "GET /api/qrapp/runs/{id}" => {
                let path = format!("/api/qrapp/runs/{}", self.run_id);
                let detail = self.ask(As::Member, &method, &path).await.ok();
                assert_eq!(detail["run"]["runId"], self.run_id.as_str(), "{detail}");
            }
            "POST /api/qrapp/runs/{id}/retry" => {
                let path = format!("/api/qrapp/runs/{}/retry", self.run_id);
                let retried = self.door.post_json(As::Admin, &path, &json!({ "orderIds": [self.order_id] })).await;
                self.assert_completes(&retried).await;
            }
            "POST /api/qrapp/contacts/{id}/forget" => {
                let contact_id = new_id();
                let forgotten = self.ask(As::Admin, &method, &path.replace("{id}", &contact_id)).await.ok();
                assert_eq!((&forgotten["contactId"], &forgotten["orders"]), (&json!(contact_id), &json!(0)));
            }
            "GET /api/qrapp/failures" => {
                let failures = self.ask(As::Member, &method, path).await.ok();
                assert!(failures["failures"].is_array(), "{failures}");
            }
            "POST /api/qrapp/ws-ticket" => {
                let made = self.ask(As::Member, &method, path).await.ok();
                let ticket = made["ticket"].as_str().expect("a ticket");
                let connected = connect(&self.world, ticket, Some(self.world.origin())).await;
                assert!(connected.is_ok(), "the ticket opens the stack's WebSocket: {connected:?}");
            }
            "POST /api/qrapp/tickets/{id}/validate" => self.validate().await,
            "POST /api/qrapp/tickets/{id}/undo" => self.undo().await,
            "POST /api/qrapp/tickets/{id}/cancel" => self.by_hand("cancel", "cancelled").await,
            "POST /api/qrapp/tickets/{id}/reinstate" => self.by_hand("reinstate", "live").await,
            "GET /" => {
                let page = self.ask(As::Nobody, &method, path).await.ok();
                assert!(page.as_str().is_some_and(|page| page.contains("<!doctype html>")), "{page}");
            }
            "GET /assets/{proxy+}" => self.assets().await,
            other => panic!("{other} has no check here: add one"),
        }
    }

    async fn webhook(&self, path: &str) {
        let (id, url) = (new_id(), format!("{}{path}", variable("SAM_API_URL")));
        self.world.ghl.put(&id, json!({})).await;
        let forged = json!({ "kind": "signed", "orderId": id, "url": url, "signature": "bad" });
        assert_eq!(self.world.ghl.webhook(forged).await["status"], 401);
        let signed = json!({ "kind": "signed", "orderId": id, "url": url });
        let answer = self.world.ghl.webhook(signed).await;
        assert_eq!((&answer["status"], &answer["body"]["orders"]), (&json!(202), &json!(1)), "{answer}");
        self.world.database.until_tickets(&id, 1, "live").await;
    }

    async fn order(&self, method: &Method) {
        let id = new_id();
        self.world.ghl.put(&id, json!({})).await;
        let synced = self.ask(As::Admin, method, &format!("/api/ghl/orders/{id}")).await.ok();
        assert_eq!((&synced["orderId"], &synced["result"]), (&json!(id), &json!("written")), "{synced}");
        self.world.database.until_tickets(&id, 1, "live").await;
    }

    async fn start(&self, method: &Method, path: &str) {
        self.slow_listing().await;
        let path = format!("{path}?mode=full");
        let started = self.ask(As::Admin, method, &path).await;
        let again = self.ask(As::Admin, method, &path).await;
        again.refused(409, "sync_in_progress", &["retryAfterSeconds", "runId"]);
        assert!(again.retry_after() > 0);
        assert_eq!(again.body["runId"], started.body["runId"], "{started:?}");
        self.assert_completes(&started).await;
    }

    async fn cancel(&self, path: &str) {
        self.slow_listing().await;
        let run_id = self.door.start("/api/ghl/orders/sync?mode=full").await;
        self.door.post(As::Admin, path).await.ok();
        let row = self.world.until_ended(&run_id, A_SMALL_RUN).await;
        assert_eq!(row["state"], "Cancelled", "{row}");
        self.world.ghl.heal().await;
    }

    async fn validate(&self) {
        let path = format!("/api/qrapp/tickets/{}/validate", self.ticket_id);
        self.door.post(As::Admin, &format!("/api/qrapp/tickets/{}/undo", self.ticket_id)).await;
        let admitted = self.door.post(As::Member, &path).await.ok();
        assert_eq!((&admitted["result"], &admitted["ticket"]["ticketId"]), (&json!("admitted"), &self.ticket_id));
        self.door.post(As::Member, &path).await.refused(409, "already_validated", &["ticket", "validatedAt"]);
        assert_eq!(self.world.database.tickets(&self.order_id).await[0]["status"], "validated");
    }

    async fn undo(&self) {
        self.door.post(As::Member, &format!("/api/qrapp/tickets/{}/validate", self.ticket_id)).await;
        let path = format!("/api/qrapp/tickets/{}/undo", self.ticket_id);
        self.door.post(As::Member, &path).await.refused(403, "admin_required", &[]);
        assert_eq!(self.door.post(As::Admin, &path).await.ok()["result"], "undone");
        assert_eq!(self.world.database.tickets(&self.order_id).await[0]["status"], "live");
    }

    /// Cancels or reinstates a ticket that isn't so yet, and leaves it live.
    async fn by_hand(&self, deed: &str, status: &str) {
        let by_hand = async |who, deed: &str| {
            let path = format!("/api/qrapp/tickets/{}/{deed}", self.ticket_id);
            self.door.post_json(who, &path, &json!({ "reason": "Given back" })).await
        };
        self.door.post(As::Admin, &format!("/api/qrapp/tickets/{}/undo", self.ticket_id)).await;
        if deed == "reinstate" {
            by_hand(As::Admin, "cancel").await.ok();
        }
        by_hand(As::Member, deed).await.refused(403, "admin_required", &[]);
        assert_eq!(by_hand(As::Admin, deed).await.ok()["ticket"]["status"], status);
        assert_eq!(self.world.database.tickets(&self.order_id).await[0]["status"], status);
        if deed == "cancel" {
            by_hand(As::Admin, "reinstate").await.ok();
        }
    }

    async fn assets(&self) {
        let script = self.ask(As::Nobody, &Method::GET, "/assets/app.js").await;
        let kind = script.headers["content-type"].to_str().unwrap();
        assert!(script.status == 200 && kind.starts_with("text/javascript"), "{script:?}");
        let config = self.ask(As::Nobody, &Method::GET, "/assets/config.json").await.ok();
        assert_eq!(config["locationId"], self.world.location_id.as_str(), "{config}");
        let missing = self.ask(As::Nobody, &Method::GET, "/assets/none.js").await;
        assert_eq!(missing.status, 404, "{missing:?}");
    }
}

#[tokio::test]
async fn every_route_answers_and_does_what_it_says() {
    let scene = Scene::set().await;
    for route in Template::served().routes() {
        print!("{} ... ", route.name);
        scene.check(&route).await;
        println!("ok");
    }
}

#[tokio::test]
async fn no_guarded_route_lets_a_stranger_in() {
    let door = http_api();
    let routes: Vec<_> = Template::served().routes().into_iter().filter(|route| route.guarded).collect();
    assert!(routes.len() >= 14, "{} routes", routes.len());
    for route in routes {
        let (method, path) = route.name.split_once(' ').unwrap();
        let (method, path): (Method, _) = (method.parse().unwrap(), path.replace("{id}", "1"));
        let nobody = Answer::to(door.request(As::Nobody, method.clone(), &path)).await;
        assert_eq!(nobody.status, 401, "{}: {nobody:?}", route.name);
        let forged = Answer::to(door.request(As::Nobody, method, &path).bearer_auth("e30.e30.e30")).await;
        assert!([401, 403].contains(&forged.status), "{}: {forged:?}", route.name);
    }
}

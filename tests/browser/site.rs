//! The stack under test as its pages are met: sessions for them, and the GHL and database behind.

use std::ops::Deref;

use jsonwebtoken::{Algorithm, get_current_timestamp};
use serde_json::{Value, json};
use tests::{
    database::Database,
    fake_ghl::FakeGhl,
    keys::{Keys, sign},
    stack::Stack,
};

pub(crate) struct Site {
    stack: Stack,
    pub(crate) ghl: FakeGhl,
}

impl Site {
    pub(crate) fn running() -> Self {
        let stack = Stack::running();
        Self { ghl: FakeGhl::new(&stack), stack }
    }

    /// The page's address without the session that `dashboard_url` carries.
    pub(crate) fn page_url(&self) -> &str {
        self.dashboard_url.split('#').next().unwrap()
    }

    /// The page's address with a member's session.
    pub(crate) fn member_url(&self) -> String {
        format!("{}#access_token={}&token_type=bearer", self.page_url(), self.member_token)
    }

    /// A short address that signs an admin in once, as `cargo xtask sign-in` prints it.
    pub(crate) async fn sign_in_address(&self) -> String {
        let url = format!("{}/auth/v1/admin/generate_link", self.supabase_url());
        let wanted = json!({ "type": "magiclink", "email": "admin@example.com", "redirect_to": self.page_url() });
        let answer = tests::http().post(url).bearer_auth(&self.service_key).json(&wanted).send().await.unwrap();
        let answer: Value = answer.json().await.unwrap();
        answer["action_link"].as_str().unwrap_or_else(|| panic!("no address: {answer}")).to_owned()
    }

    /// An admin's access token of a stack that was here before, with other keys: nothing but its signature is wrong.
    pub(crate) fn former_token(&self) -> String {
        sign(&self.claims(3600), Algorithm::HS256, "of a stack that was here before, with another secret")
    }

    /// An admin's access token that ends in so many seconds; `changes` are other claims.
    pub(crate) fn token(&self, seconds: u64, changes: Value) -> String {
        let mut claims = self.claims(seconds);
        claims.as_object_mut().unwrap().extend(changes.as_object().unwrap().clone());
        sign(&claims, Algorithm::HS256, &Keys::of_the_stack().jwt_secret)
    }

    fn claims(&self, seconds: u64) -> Value {
        json!({
            "iss": format!("{}/auth/v1", self.supabase_url()), "aud": "authenticated", "sub": Keys::of_the_stack().admin_id,
            "email": "admin@example.com", "exp": get_current_timestamp() + seconds, "app_metadata": { "role": "admin" },
        })
    }

    /// A refresh token of the admin's, good for so many seconds, which brings access tokens of `valid_for` seconds each.
    pub(crate) fn refresh_token(seconds: u64, valid_for: u64) -> String {
        let keys = Keys::of_the_stack();
        let exp = get_current_timestamp() + seconds;
        let claims = json!({ "aud": "refresh", "sub": keys.admin_id, "valid_for": valid_for, "exp": exp });
        sign(&claims, Algorithm::HS256, &keys.jwt_secret)
    }

    /// Orders that GHL has.
    pub(crate) async fn some_orders(&self) -> [String; 3] {
        let orders = self.ghl.census().await.ordinary;
        [7, 11, 13].map(|at| orders[at].clone())
    }

    /// GHL doesn't find the order until it is healed.
    pub(crate) async fn lose(&self, order_id: &str) {
        let fault = json!({ "endpoint": "detail", "orderId": order_id, "fault": { "kind": "status", "status": 404 } });
        self.ghl.fail(fault).await;
    }

    /// Changes these orders, so that the next run fetches them, and finds none.
    pub(crate) async fn change_and_lose(&self, orders: &[String]) {
        for order_id in orders {
            self.ghl.put(order_id, json!({})).await;
            self.lose(order_id).await;
        }
    }

    /// Runs statements in the stack's database.
    pub(crate) async fn execute(&self, statements: &str) {
        Database::connect(self).await.execute(statements).await;
    }

    /// The only value of a query, as text.
    pub(crate) async fn value(&self, query: &str) -> String {
        let rows = Database::connect(self).await.rows(&format!("select ({query})::text as value")).await;
        rows[0]["value"].as_str().unwrap_or_else(|| panic!("{query}: nothing")).to_owned()
    }
}

impl Deref for Site {
    type Target = Stack;

    fn deref(&self) -> &Stack {
        &self.stack
    }
}

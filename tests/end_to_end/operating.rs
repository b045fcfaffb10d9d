//! An operator's commands, `cargo xtask configure`, `redrive` and `forget`, as they are run against a deployed stack.

use std::{env, fs, os::unix::fs::OpenOptionsExt, path::PathBuf};

use jsonwebtoken::Algorithm;
use serde_json::{Value, json};
use tests::{
    api::As,
    fake_ghl::new_id,
    keys::{Keys, now, sign},
    waiting::{A_MOMENT, A_SMALL_RUN, until},
    world::World,
    xtask::{Said, xtask},
};

/// Runs a command with the credentials of the local cloud's owner. It may show no secret of the stack, nor one of these.
async fn operate(world: &World, arguments: &[&str], environment: &[(&str, &str)], secrets: &[&str]) -> Said {
    let mut command = xtask();
    command
        .args(arguments)
        .env("AWS_ENDPOINT_URL", &world.aws_endpoint_url)
        .envs([("AWS_ACCESS_KEY_ID", "test"), ("AWS_SECRET_ACCESS_KEY", "test"), ("AWS_REGION", "us-east-1")])
        // Nothing of whoever runs the tests.
        .envs([("AWS_CONFIG_FILE", "/dev/null"), ("AWS_SHARED_CREDENTIALS_FILE", "/dev/null")])
        .env("AWS_EC2_METADATA_DISABLED", "true")
        .env_remove("AWS_PROFILE");
    for (name, value) in environment {
        if value.is_empty() {
            command.env_remove(name);
        } else {
            command.env(name, value);
        }
    }
    let said = Said::by(command).await;
    let keys = Keys::of_the_stack();
    let own = [&keys.jwt_secret, &keys.ghl_token, &keys.webhook_secret, &keys.ws_ticket_secret, &world.service_key];
    for secret in own.into_iter().map(String::as_str).chain(secrets.iter().copied()) {
        assert!(!said.text.contains(secret), "a secret is shown");
    }
    said
}

/// A file of values, removed at the end of its test.
struct Given(PathBuf);

impl Given {
    /// The stack's own values, with these changed; an empty one is left out.
    fn with(world: &World, changes: &[(&str, &str)]) -> Self {
        let keys = Keys::of_the_stack();
        let mut values = vec![
            ("GHL_LOCATION_ID", world.location_id.as_str()),
            ("GHL_API_BASE_URL", &world.ghl_url),
            ("GHL_ACCESS_TOKEN", &keys.ghl_token),
            ("SUPABASE_URL", world.supabase_url()),
            ("SUPABASE_SERVICE_ROLE_KEY", &world.service_key),
            ("SUPABASE_JWT_SECRET", &keys.jwt_secret),
        ];
        values.retain(|(name, _)| changes.iter().all(|(changed, _)| changed != name));
        values.extend_from_slice(changes);
        let text: String = values.iter().map(|(name, value)| format!("{name}={value}\n")).collect();
        let path = env::temp_dir().join(format!("ghl-sync-{}.env", new_id()));
        let file = fs::File::options().write(true).create_new(true).mode(0o600).open(&path);
        std::io::Write::write_all(&mut file.unwrap(), text.as_bytes()).unwrap();
        Self(path)
    }

    fn path(&self) -> &str {
        self.0.to_str().unwrap()
    }
}

impl Drop for Given {
    fn drop(&mut self) {
        let _ = fs::remove_file(&self.0);
    }
}

async fn check(world: &World, changes: &[(&str, &str)], stack: &str) -> Said {
    let given = Given::with(world, changes);
    let secrets: Vec<_> = changes.iter().filter(|(name, _)| name.ends_with("KEY") || name.ends_with("TOKEN")).collect();
    let secrets: Vec<_> = secrets.into_iter().map(|(_, value)| *value).filter(|value| !value.is_empty()).collect();
    let arguments = ["configure", "--from", given.path(), "--check", "--stack", stack];
    operate(world, &arguments, &[], &secrets).await
}

#[tokio::test]
async fn a_right_configuration_passes_and_what_is_wrong_is_named() {
    let world = World::with_orders(4).await;
    let keys = Keys::of_the_stack();
    let key = |role: &str, secret: &str| {
        let claims = json!({ "iss": "supabase", "ref": "local", "role": role, "exp": now() + 600 });
        sign(&claims, Algorithm::HS256, secret)
    };
    let right = check(&world, &[], "ghl-sync").await;
    right.says(
        true,
        &[
            "reads orders of",
            "reads products of",
            "reads transactions of",
            "key is accepted",
            "SQL functions are there",
            "us-east-1",
            "API Gateway has no role for CloudWatch",
        ],
    );
    assert!(!right.text.contains("WRONG"), "{}", right.text);
    // Of a new account's ten executions all must stay unreserved, of any account a hundred.
    let given = Given::with(&world, &[]);
    let reserving = ["configure", "--from", given.path(), "--check", "--reserve", "300"];
    operate(&world, &reserving, &[], &[]).await.says(false, &["WRONG", "900 executions can't be reserved"]);
    // Secrets that the file lacks are the stored ones.
    check(&world, &[("GHL_ACCESS_TOKEN", ""), ("SUPABASE_SERVICE_ROLE_KEY", "")], "ghl-sync").await.says(true, &[]);

    let (anon, forged) = (key("anon", &keys.jwt_secret), key("service_role", "another secret"));
    let nowhere = "http://127.0.0.1:9";
    for (changes, words) in [
        (vec![("GHL_ACCESS_TOKEN", "pit-invented")], "GHL_ACCESS_TOKEN is wrong"),
        (vec![("GHL_ACCESS_TOKEN", "")], "GHL_ACCESS_TOKEN: neither given nor"),
        (vec![("GHL_LOCATION_ID", "AnotherLocation00001")], "not for location AnotherLocation00001"),
        (vec![("GHL_API_BASE_URL", nowhere)], "http://127.0.0.1:9 doesn't answer ("),
        (vec![("SUPABASE_SERVICE_ROLE_KEY", &anon)], "is the anon key"),
        (vec![("SUPABASE_SERVICE_ROLE_KEY", "sb_publishable_invented")], "is the public key"),
        (vec![("SUPABASE_SERVICE_ROLE_KEY", &forged)], "SUPABASE_JWT_SECRET isn't the one"),
        (vec![("SUPABASE_SERVICE_ROLE_KEY", &forged), ("SUPABASE_JWT_SECRET", "")], "isn't accepted"),
        (vec![("SUPABASE_SERVICE_ROLE_KEY", "sb_secret_invented")], "isn't accepted"),
        (vec![("SUPABASE_ANON_KEY", &world.service_key)], "isn't a public key"),
        (vec![("SUPABASE_JWT_SECRET", "")], "legacy JWT secret"),
        (vec![("SUPABASE_URL", nowhere)], "http://127.0.0.1:9 doesn't answer ("),
        (vec![("SUPABASE_URL", "http://example.com")], "https://"),
        (vec![("WEBHOOK_PUBLIC_KEYS", "AAAA")], "key 1 is no Ed25519"),
        (vec![("WS_TICKET_SECRET", "short")], "32 to 4096 bytes"),
    ] {
        check(&world, &changes, "nothing-there").await.says(false, &["WRONG", words]);
    }
}

#[tokio::test]
async fn a_deployed_stack_is_looked_at_from_outside() {
    let world = World::with_orders(4).await;
    let look = async |environment: &[(&str, &str)], secrets: &[&str]| {
        let cleared = [("CHECK_TOKEN", ""), ("CHECK_EMAIL", ""), ("CHECK_PASSWORD", "")];
        let environment = [&cleared[..], environment].concat();
        operate(&world, &["check", "--url", &world.http_url], &environment, secrets).await
    };
    let right = [
        "ok     gate         a scan without a session is refused (401)",
        "ok     webhooks     a webhook that nobody signed is refused (401)",
        "content security policy",
        "told to a member",
    ];
    let token = world.member_token.as_str();
    look(&[("CHECK_TOKEN", token)], &[token]).await.says(true, &right);
    // As the page signs in.
    let keys = Keys::of_the_stack();
    let (email, password) = ("member@example.com", keys.member_password.as_str());
    look(&[("CHECK_EMAIL", email), ("CHECK_PASSWORD", password)], &[password]).await.says(true, &right);
    look(&[("CHECK_EMAIL", email), ("CHECK_PASSWORD", "wrong-horse")], &["wrong-horse"])
        .await
        .says(false, &["WRONG  status       ", "doesn't sign CHECK_EMAIL in"]);
    look(&[], &[]).await.says(false, &[right[0], "set CHECK_EMAIL and CHECK_PASSWORD"]);
    look(&[("CHECK_TOKEN", "invented-token")], &["invented-token"]).await.says(false, &["the session isn't accepted"]);
    let stack = ["check", "--stack", "elsewhere"];
    operate(&world, &stack, &[], &[]).await.says(false, &["no stack elsewhere"]);
}

#[tokio::test]
async fn what_the_public_key_reaches_is_told() {
    let world = World::with_orders(4).await;
    let claims = json!({ "iss": "supabase", "ref": "local", "role": "anon", "exp": now() + 600 });
    let key = sign(&claims, Algorithm::HS256, &Keys::of_the_stack().jwt_secret);
    let anonymous = [("SUPABASE_ANON_KEY", key.as_str())];
    let closed = check(&world, &anonymous, "ghl-sync").await;
    closed.says(true, &["public key   it reaches nothing of ours", "PostgREST answers for"]);
    check(&world, &[], "ghl-sync").await.says(true, &["it reaches nothing of ours", "give SUPABASE_ANON_KEY"]);

    let opened = async |opening: &str, closing: &str, succeeded: bool, words: &[&str]| {
        world.database.execute(&format!("{opening}; notify pgrst, 'reload schema'")).await;
        let said = check(&world, &anonymous, "ghl-sync").await;
        world.database.execute(&format!("{closing}; notify pgrst, 'reload schema'")).await;
        said.says(succeeded, words);
    };
    opened(
        "grant select on public.ghl_qr_orders to anon; alter table public.ghl_qr_orders disable row level security",
        "revoke all on public.ghl_qr_orders from anon; alter table public.ghl_qr_orders enable row level security",
        true,
        &["OPEN   public key", "can use ghl_qr_orders", "cargo xtask migrate --last-step"],
    )
    .await;
    // Row level security shows it no row, but it shouldn't be asked at all: only PostgREST tells.
    opened(
        "grant select on public.sync_runs to anon",
        "revoke all on public.sync_runs from anon",
        false,
        &["WRONG  public key", "can use sync_runs"],
    )
    .await;
    opened(
        "grant execute on function public.get_run(jsonb) to anon",
        "revoke all on function public.get_run(jsonb) from anon",
        false,
        &["WRONG  public key", "can use get_run"],
    )
    .await;
    check(&world, &[("SUPABASE_ANON_KEY", "sb_publishable_invented")], "ghl-sync")
        .await
        .says(false, &["isn't accepted"]);
}

#[tokio::test]
async fn a_missing_migration_is_named() {
    let world = World::with_orders(4).await;
    let rename = async |from: &str, to: &str| {
        let reload = "notify pgrst, 'reload schema'";
        world.database.execute(&format!("alter function public.{from}(jsonb) rename to {to}; {reload}")).await;
    };
    let until_said = async |well: bool, words: &str| {
        until(words, A_MOMENT, async || {
            let said = check(&world, &[], "ghl-sync").await;
            if said.succeeded == well && said.text.contains(words) { Ok(()) } else { Err(said.text) }
        })
        .await;
    };
    rename("undo_ticket", "undo_ticket_elsewhere").await;
    until_said(false, "missing: undo_ticket (20261129070200_scans_and_by_hand.sql): run cargo xtask migrate").await;
    rename("undo_ticket_elsewhere", "undo_ticket").await;
    until_said(true, "SQL functions are there").await;
}

#[tokio::test]
async fn secrets_are_written_once_confirmed_and_read_by_nobody() {
    let world = World::with_orders(4).await;
    let keys = Keys::of_the_stack();
    let stack = format!("written-{}", new_id());
    let given = Given::with(&world, &[]);
    let configure = async |given: &Given, more: &[&str]| {
        let arguments = [&["configure", "--from", given.path(), "--stack", stack.as_str()], more].concat();
        operate(&world, &arguments, &[], &[]).await
    };
    let stored = async |name: &str| world.cloud().secret(&format!("/ghl-sync/{stack}/{name}")).await;
    let names = ["ghl-access-token", "supabase-service-role-key", "supabase-jwt-secret", "ws-ticket-secret"];

    configure(&given, &["--dry-run"]).await.says(true, &["ghl-access-token", "new", "a random value"]);
    configure(&given, &[]).await.says(false, &["give --yes"]);
    for name in names {
        assert_eq!(stored(name).await, None, "{name}");
    }

    let written = configure(&given, &["--yes"]).await;
    let location = format!("LocationId={}", world.location_id);
    let name = format!("--stack-name {stack}");
    written.says(true, &["5 parameter(s)", "sam deploy", &name, &location, "LegacyJwtSecret=true"]);
    written.says(true, &["AlarmEmail=", "before the link in Amazon's mail"]);
    // It isn't deployed yet; or somebody has misspelled it.
    written.says(true, &[&format!("Parameters of the stack {stack} (CloudFormation has none of this name yet)")]);
    assert_eq!(stored(names[0]).await.as_ref(), Some(&keys.ghl_token));
    assert_eq!(stored(names[1]).await.as_ref(), Some(&world.service_key));
    assert_eq!(stored(names[2]).await.as_ref(), Some(&keys.jwt_secret));
    let (random, webhook) = (stored(names[3]).await.unwrap(), stored("webhook-shared-secret").await.unwrap());
    assert!(random.len() >= 32 && webhook.len() >= 32 && random != webhook);
    assert!(!written.text.contains(&random) && !written.text.contains(&webhook), "a random secret is shown");

    let again = configure(&given, &["--yes"]).await;
    again.says(true, &["unchanged"]);
    assert!(!again.text.contains("Written") && stored(names[3]).await == Some(random), "{}", again.text);

    let other = "a different secret, long enough for tickets";
    let changed = Given::with(&world, &[("WS_TICKET_SECRET", other)]);
    configure(&changed, &["--dry-run"]).await.says(true, &["replaces a different value"]);
    configure(&changed, &["--yes"]).await.says(true, &["1 of them over a different value"]);
    assert_eq!(stored(names[3]).await.as_deref(), Some(other));

    let wrong = Given::with(&world, &[("GHL_ACCESS_TOKEN", "pit-invented")]);
    configure(&wrong, &["--yes"]).await.says(false, &["Nothing is written"]);
    assert_eq!(stored(names[0]).await.as_ref(), Some(&keys.ghl_token));
    configure(&wrong, &["--yes", "--force"]).await.says(false, &["Written"]);
    assert_eq!(stored(names[0]).await.as_deref(), Some("pit-invented"));
}

#[tokio::test]
async fn what_is_wrong_with_aws_is_told() {
    let world = World::with_orders(4).await;
    let given = Given::with(&world, &[]);
    let configure = ["configure", "--from", given.path(), "--check"];
    let without_keys = [("AWS_ACCESS_KEY_ID", ""), ("AWS_SECRET_ACCESS_KEY", "")];
    // The other checks go on.
    let said = operate(&world, &configure, &without_keys, &[]).await;
    said.says(false, &["no AWS credentials", "reads orders of"]);
    let said = operate(&world, &configure, &[("AWS_REGION", ""), ("AWS_DEFAULT_REGION", "")], &[]).await;
    said.says(false, &["no AWS region"]);
    let redrive = ["redrive", "--stack", "elsewhere"];
    operate(&world, &redrive, &[], &[]).await.says(false, &["no stack elsewhere", "us-east-1"]);
    let nowhere = [("AWS_ENDPOINT_URL", "http://127.0.0.1:9")];
    operate(&world, &redrive, &nowhere, &[]).await.says(false, &["doesn't answer in region us-east-1"]);
    operate(&world, &redrive, &without_keys, &[]).await.says(false, &["no AWS credentials"]);
}

/// A world whose earlier runs left nothing to send again: the orders of other tests are gone, their outcomes aren't.
async fn without_failures(orders: u32) -> World {
    let world = World::with_orders(orders).await;
    world.database.execute("delete from public.sync_outcomes where outcome = 'failed'").await;
    world
}

async fn redrive(world: &World, more: &[&str]) -> Said {
    operate(world, &[&["redrive", "--stack", "ghl-sync"], more].concat(), &[], &[]).await
}

async fn failures(world: &World) -> Value {
    world.api.get(As::Member, "/api/qrapp/failures").await.ok()["failures"].clone()
}

#[tokio::test]
async fn an_order_that_failed_alone_is_sent_again() {
    let world = without_failures(4).await;
    let id = new_id();
    world.ghl.put(&id, json!({})).await;
    world.ghl.fail(json!({ "endpoint": "detail", "orderId": id, "fault": { "kind": "status", "status": 401 } })).await;
    world.ghl.notify(&id).await;
    until("the failure", A_MOMENT, async || {
        let failures = failures(&world).await;
        if failures[0]["orderId"] == id.as_str() { Ok(()) } else { Err(failures.to_string()) }
    })
    .await;

    let before = world.ghl.fetches(&id).await;
    redrive(&world, &["--dry-run"]).await.says(true, &[&id, "order_refused", "Would send 1 order(s)"]);
    redrive(&world, &[]).await.says(false, &["give --yes"]);
    redrive(&world, &["--yes", "--only", "dead_letter"]).await.says(true, &["No failed order"]);
    redrive(&world, &["--dead-letters", "--dry-run"]).await.says(true, &["0 waiting", "No dead letter"]);
    world.cloud().is_empty("orders-bulk").await.unwrap();
    assert_eq!(world.ghl.fetches(&id).await, before);

    redrive(&world, &["--yes"]).await.says(false, &["0 synced, 1 failed anew", "order_refused"]);
    assert_eq!(failures(&world).await[0]["orderId"], id.as_str());

    world.ghl.heal().await;
    redrive(&world, &["--yes", "--since", "1h", "--limit", "5"]).await.says(true, &["1 synced, 0 failed anew"]);
    world.database.until_tickets(&id, 1, "live").await;
    assert_eq!(failures(&world).await, json!([]));
}

#[tokio::test]
async fn orders_that_failed_in_a_run_are_sent_again_though_it_cools_down() {
    let world = without_failures(20).await;
    let lost = world.ghl.census().await.ordinary[3].clone();
    world
        .ghl
        .fail(json!({ "endpoint": "detail", "orderId": lost, "fault": { "kind": "status", "status": 404 } }))
        .await;
    let run_id = world.api.start("/api/ghl/orders/sync?mode=full").await;
    let run = world.until_ended(&run_id, A_SMALL_RUN).await;
    assert_eq!((&run["state"], &run["failed"]), (&json!("Delay"), &json!(1)), "{run}");

    world.ghl.heal().await;
    let said = redrive(&world, &["--yes", "--since", "2m"]).await;
    said.says(true, &[&lost, &run_id, "1 synced, 0 failed anew"]);
    let count = world.ghl.expected(&lost).await["tickets"].as_u64().unwrap() as usize;
    world.database.until_tickets(&lost, count, "live").await;
    let failure = world.api.run(&run_id).await["failures"][0].clone();
    assert!(failure["resolvedAt"].is_string(), "{failure}");
    redrive(&world, &["--dry-run", "--since", "2m"]).await.says(true, &["No failed order"]);
}

#[tokio::test]
async fn a_person_is_forgotten_once_confirmed_and_what_was_done_is_told() {
    let world = World::with_orders(4).await;
    let (id, contact) = (new_id(), new_id());
    let buyer = json!({ "id": contact, "firstName": "Ada", "email": "ada@example.test" });
    world.ghl.put(&id, json!({ "contactId": contact, "contactSnapshot": buyer })).await;
    world.api.sync(&id).await;
    let forget = async |more: &[&str]| {
        let said =
            operate(&world, &[&["forget", "--stack", "ghl-sync"], more].concat(), &[], &["ada@example.test"]).await;
        assert!(!said.text.contains("Ada"), "a name is shown");
        said
    };
    forget(&[]).await.says(false, &["--contact"]);
    forget(&["--contact", "a b"]).await.says(false, &["letters, digits"]);
    forget(&["--contact", &contact]).await.says(false, &["give --yes"]);
    assert_eq!(world.database.order(&id).await.unwrap()["contact_firstname"], "Ada");

    let done = [contact.as_str(), "by request 17", "Blanked in 1 order(s)", "delete the contact there too"];
    forget(&["--contact", &contact, "--by", "request 17", "--yes"]).await.says(true, &done);
    let row = world.database.order(&id).await.unwrap();
    assert_eq!((&row["contact_firstname"], &row["contact_email"]), (&Value::Null, &Value::Null));
    forget(&["--contact", &contact, "--by", "somebody else", "--yes"]).await.says(true, &done);
    forget(&["--contact", &new_id(), "--yes"]).await.says(true, &["by an operator", "No order here was theirs"]);
}

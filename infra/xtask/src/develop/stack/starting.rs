//! How each server of the stack is started, and with which settings.

use std::collections::BTreeMap;
use std::net::TcpStream;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use nix::sys::signal::Signal;

use crate::account::Concurrency;
use crate::database::migrations;
use crate::database::postgres::{Durability, Postgres};
use crate::database::sql_files::sql_files;
use crate::develop::build;
use crate::develop::stack::cloud::{BRISK_WINDOW_MS, Cloud, Deployed, spoken};
use crate::develop::stack::keys::StackKeys;
use crate::develop::stack::options::StackOptions;
use crate::develop::stack::ports::Ports;
use crate::place::Place;
use crate::process::tied;
use crate::services::Services;
use crate::setup;
use crate::stack_file::StackFile;

const START_UP: Duration = Duration::from_secs(20);
/// Any 20 letters and digits, as GHL's location ids are.
const LOCATION_ID: &str = "LocalDemoLocation001";

/// The GHL that the stack talks to.
pub(crate) struct Ghl {
    url: String,
    location_id: String,
    token: String,
}

/// A stack on its way up: each method starts one server and waits for it.
pub(crate) struct Starting<'a> {
    pub(crate) place: &'a Place,
    pub(crate) options: &'a StackOptions,
    pub(crate) ports: &'a Ports,
    pub(crate) keys: &'a StackKeys,
    pub(crate) services: Services,
}

impl Starting<'_> {
    pub(crate) fn database(&mut self, postgres: &Postgres, durability: Durability) -> Result<()> {
        postgres.start(&mut self.services, durability)?;
        self.migrate(postgres)?;
        let password = &self.keys.authenticator_password;
        postgres.query(&format!("alter role authenticator with login password '{password}'"))?;
        Ok(())
    }

    /// Supabase's roles, with `--original` the original app's tables, and what is missing of the migrations.
    fn migrate(&self, postgres: &Postgres) -> Result<()> {
        let supabase = self.place.project("infra/supabase");
        let mut before = sql_files(&supabase.join("local"))?;
        if self.options.original {
            match postgres.query(ORIGINAL_TABLES)?.as_str() {
                "none" => before.extend(sql_files(&supabase.join("original"))?),
                "open" => {}
                _ => bail!("this database was made without --original, its tables are closed: --reset makes a new one"),
            }
        }
        postgres.run_files(&before)?;
        migrations::bring_up_to_date(self.place, &postgres.url())
    }

    pub(crate) fn postgrest(&mut self) -> Result<()> {
        let mut command = tied(&setup::postgrest(self.place)?, "TERM");
        command
            .arg(self.place.project("infra/supabase/local/postgrest.conf"))
            .env(
                "PGRST_DB_URI",
                format!(
                    "postgres://authenticator:{}@127.0.0.1:{}/postgres",
                    self.keys.authenticator_password, self.ports.postgres
                ),
            )
            .envs([("PGRST_SERVER_HOST", "127.0.0.1"), ("PGRST_DB_POOL", "20"), ("PGRST_LOG_LEVEL", "warn")])
            .env("PGRST_SERVER_PORT", self.ports.postgrest.to_string())
            .env("PGRST_JWT_SECRET", &self.keys.jwt_secret);
        self.services.start(self.place, "postgrest", command, Signal::SIGTERM)?;
        self.listening("PostgREST", self.ports.postgrest)
    }

    pub(crate) fn supabase(&mut self) -> Result<()> {
        let keys = self.keys;
        let mut command = tied(&build::server(self.place, "local-supabase")?, "TERM");
        command
            .args(["--port", &self.ports.supabase.to_string()])
            .args(["--postgrest-url", &format!("http://127.0.0.1:{}", self.ports.postgrest)])
            .args(self.options.far.then_some("--far"))
            // By the environment, not by arguments: those stand in the list of processes.
            .env("JWT_SECRET", &keys.jwt_secret)
            .env(
                "DEMO_USERS",
                format!(
                    "admin@example.com:{}:admin:{},member@example.com:{}:member:{}",
                    keys.admin_password, keys.admin_id, keys.member_password, keys.member_id
                ),
            );
        self.services.start(self.place, "local-supabase", command, Signal::SIGTERM)?;
        self.listening("The local Supabase", self.ports.supabase)
    }

    /// Which GHL it is to be.
    pub(crate) fn ghl(&self) -> Ghl {
        let Some(url) = &self.options.ghl_url else {
            return Ghl {
                url: format!("http://127.0.0.1:{}", self.ports.ghl),
                location_id: LOCATION_ID.to_owned(),
                token: self.keys.ghl_token.clone(),
            };
        };
        let or = |name, ours: &str| std::env::var(name).ok().filter(|v| !v.is_empty()).unwrap_or(ours.to_owned());
        Ghl {
            url: url.clone(),
            location_id: or("GHL_LOCATION_ID", LOCATION_ID),
            token: or("GHL_ACCESS_TOKEN", &self.keys.ghl_token),
        }
    }

    /// The fake GHL, unless it is an outside one; its webhooks go to the deployed stack.
    pub(crate) fn fake_ghl(&mut self, ghl: &Ghl, http_url: &str) -> Result<()> {
        if self.options.ghl_url.is_some() {
            return Ok(());
        }
        let mut command = tied(&build::server(self.place, "fake-ghl")?, "TERM");
        command
            .args(["--port", &self.ports.ghl.to_string()])
            .args(["--orders", &self.options.orders.to_string()])
            .args(["--seed", &self.options.seed.to_string()])
            .args(["--latency-ms", &self.options.ghl_latency_ms.to_string()])
            .args(["--location-id", &ghl.location_id])
            .args(["--webhook-url", &format!("{http_url}/api/ghl/webhook-qr")])
            .env("FAKE_GHL_TOKEN", &ghl.token)
            .env("FAKE_GHL_WEBHOOK_SIGNING_KEY", self.keys.webhook_signing_key()?)
            .env("FAKE_GHL_WEBHOOK_SECRET", &self.keys.webhook_secret);
        if self.options.brisk {
            command.args(["--rate-window-ms", BRISK_WINDOW_MS]);
        }
        self.services.start(self.place, "fake-ghl", command, Signal::SIGTERM)?;
        self.listening("The fake GHL", self.ports.ghl)
    }

    pub(crate) fn deploy(&mut self, cloud: &Cloud, ghl: &Ghl) -> Result<Deployed> {
        let mut parameters = vec![
            ("LocationId", ghl.location_id.clone()),
            ("GhlApiBaseUrl", ghl.url.clone()),
            ("SupabaseUrl", self.supabase_url()),
            ("SupabaseAnonKey", self.keys.api_key("anon")?),
            ("WebhookPublicKeys", self.keys.webhook_public_key()?),
            ("AllowedOrigins", format!("http://127.0.0.1:{0},http://localhost:{0}", self.ports.gateway)),
            ("LegacyJwtSecret", "true".to_owned()),
            ("SchedulesEnabled", "false".to_owned()),
        ];
        if self.options.brisk {
            parameters.push(("CooldownSeconds", "1".to_owned()));
        }
        parameters.extend(Concurrency::of(self.options.concurrency).parameters());
        let service_key = self.keys.api_key("service_role")?;
        let secrets = [
            ("ghl-access-token", ghl.token.as_str()),
            ("supabase-service-role-key", &service_key),
            ("webhook-shared-secret", &self.keys.webhook_secret),
            ("ws-ticket-secret", &self.keys.ws_ticket_secret),
            ("supabase-jwt-secret", &self.keys.jwt_secret),
        ];
        // As the template names them: two stacks can stand in one account.
        let named = |secret: &str| format!("/ghl-sync/{}/{secret}", self.options.stack_name());
        let secrets: Vec<(String, &str)> = secrets.iter().map(|(secret, value)| (named(secret), *value)).collect();
        cloud.wait_until_ready(&mut self.services)?;
        let deployed = cloud.deploy(&parameters, &secrets, self.options.brisk, self.options.by_sam)?;
        self.services.check()?;
        Ok(deployed)
    }

    pub(crate) fn describe(
        &self,
        cloud: &Cloud,
        postgres: &Postgres,
        ghl: &Ghl,
        deployed: &Deployed,
    ) -> Result<StackFile> {
        let spoken_names = |map: &BTreeMap<String, String>, suffix| {
            map.iter().map(|(id, name)| (spoken(id, suffix), name.clone())).collect()
        };
        let admin_token = self.keys.user_token(&self.supabase_url(), "admin")?;
        let http_url = cloud.http_url(deployed)?;
        Ok(StackFile {
            websocket_url: cloud.websocket_url(deployed)?,
            dashboard_url: format!("{http_url}/#access_token={admin_token}&token_type=bearer"),
            http_url,
            ghl_url: ghl.url.clone(),
            postgrest_url: format!("{}/rest/v1", self.supabase_url()),
            database_url: postgres.url(),
            aws_endpoint_url: cloud.endpoint(),
            location_id: ghl.location_id.clone(),
            bucket: deployed.buckets.get("StatusBucket").cloned().context("template.yaml has no StatusBucket")?,
            admin_token,
            member_token: self.keys.user_token(&self.supabase_url(), "member")?,
            service_key: self.keys.api_key("service_role")?,
            webhook_secret: self.keys.webhook_secret.clone(),
            webhook_signing_key: self.keys.webhook_signing_key()?,
            queues: spoken_names(&deployed.queues, "Queue"),
            functions: spoken_names(&deployed.functions, "Function"),
        })
    }

    fn supabase_url(&self) -> String {
        format!("http://127.0.0.1:{}", self.ports.supabase)
    }

    fn listening(&mut self, what: &str, port: u16) -> Result<()> {
        self.services.wait_for(what, START_UP, || TcpStream::connect(("127.0.0.1", port)).is_ok())
    }
}

/// Whether the original app's tables are there and open.
const ORIGINAL_TABLES: &str = "select coalesce((select case when relrowsecurity then 'closed' else 'open' end
    from pg_class where oid = to_regclass('public.ghl_qr_tickets')), 'none')";

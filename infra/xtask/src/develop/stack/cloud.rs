//! The local cloud: starts ministack with our mends and deploys `template.yaml` to it.

use std::collections::BTreeMap;
use std::fs;
use std::net::TcpStream;
use std::time::Duration;

use anyhow::{Context, Result};
use nix::sys::signal::Signal;
use serde::Deserialize;
use serde_json::json;

use crate::develop::build;
use crate::develop::stack::options::StackOptions;
use crate::develop::stack::ports::Ports;
use crate::place::Place;
use crate::process::{output_of, tied};
use crate::services::Services;
use crate::setup;

const START_UP: Duration = Duration::from_secs(30);

pub(crate) struct Cloud {
    place: Place,
    port: u16,
    /// Of the account's executions at a time.
    concurrency: u32,
    /// What our stack is called in it.
    stack: String,
    /// Chosen, so that the URLs stay the same: eight hexadecimal digits each. `sam deploy` leaves the choice to the cloud.
    http_api_id: String,
    websocket_api_id: String,
}

/// The functions' variables of a brisk stack: everything in about a fifth of the time.
const BRISK: [(&str, &str); 4] = [
    ("WAITS_PERCENT", "20"),
    ("GHL_TIMEOUT_SECONDS", "4"),
    ("LEASE_SECONDS", "90"),
    ("RATE_LIMIT_WINDOW_MS", BRISK_WINDOW_MS),
];
/// GHL's window on a brisk stack.
pub(crate) const BRISK_WINDOW_MS: &str = "1000";
/// How long a message stays invisible there after its function was killed: more than the 12 s for which a pulse is claimed.
const BRISK_VISIBILITY_SECONDS: u32 = 15;

/// What the deployment made, by the names in the template.
#[derive(Deserialize)]
pub(crate) struct Deployed {
    apis: BTreeMap<String, String>,
    pub(crate) functions: BTreeMap<String, String>,
    pub(crate) queues: BTreeMap<String, String>,
    pub(crate) buckets: BTreeMap<String, String>,
}

impl Cloud {
    pub(crate) fn new(place: &Place, ports: &Ports, options: &StackOptions) -> Self {
        // A neighbour's are told apart by its ports.
        let number = options.account_of.map_or(0, |_| options.port_base);
        Self {
            place: place.clone(),
            port: ports.gateway,
            concurrency: options.concurrency,
            stack: options.stack_name(),
            http_api_id: format!("a{number:06x}1"),
            websocket_api_id: format!("a{number:06x}2"),
        }
    }

    pub(crate) fn endpoint(&self) -> String {
        format!("http://127.0.0.1:{}", self.port)
    }

    pub(crate) fn http_url(&self, deployed: &Deployed) -> Result<String> {
        let id = deployed.apis.get("HttpApi").context("template.yaml has no HttpApi")?;
        Ok(format!("{}/_aws/execute-api/{id}/$default", self.endpoint()))
    }

    pub(crate) fn websocket_url(&self, deployed: &Deployed) -> Result<String> {
        let id = deployed.apis.get("WebSocketApi").context("template.yaml has no WebSocketApi")?;
        Ok(self.websocket_url_of(id))
    }

    fn websocket_url_of(&self, id: &str) -> String {
        format!("ws://127.0.0.1:{}/_aws/execute-api/{id}/live", self.port)
    }

    /// Starts it and doesn't wait: the database can start meanwhile.
    pub(crate) fn start(&self, services: &mut Services) -> Result<()> {
        let home = self.place.own("cloud");
        let _ = fs::remove_dir_all(&home);
        fs::create_dir_all(&home)?;
        let function_log = self.place.log("functions")?;
        let _ = fs::remove_file(&function_log);

        let mut ministack = tied(&setup::cloud_python(&self.place), "TERM");
        ministack.arg("-u").arg(self.place.project("infra/local/cloud/launcher.py"));
        // The functions inherit this environment: nothing of the caller's may reach them.
        ministack.env_clear();
        for kept in ["PATH", "LANG"] {
            if let Some(value) = std::env::var_os(kept) {
                ministack.env(kept, value);
            }
        }
        ministack
            .envs([("HOME", &home), ("TMPDIR", &home)])
            .env("FUNCTION_LOG", function_log)
            .env("GATEWAY_PORT", self.port.to_string())
            .env("AWS_ENDPOINT_URL", self.endpoint())
            .envs([("BIND_HOST", "127.0.0.1"), ("MINISTACK_HOST", "127.0.0.1")])
            .envs([("AWS_ACCESS_KEY_ID", "test"), ("AWS_SECRET_ACCESS_KEY", "test")])
            .env("LAMBDA_ACCOUNT_CONCURRENCY", self.concurrency.to_string())
            // The roles of the template are checked at each call of a function.
            .env("AUTH", "true")
            .envs([("IOT_MTLS_ENABLED", "0"), ("SFTP_ENABLED", "0")])
            .env("PYTHONDONTWRITEBYTECODE", "1")
            .env("DOCKER_HOST", "unix:///nonexistent/docker.sock");
        services.start(&self.place, "cloud", ministack, Signal::SIGTERM)
    }

    pub(crate) fn wait_until_ready(&self, services: &mut Services) -> Result<()> {
        let port = self.port;
        services.wait_for("The local cloud", START_UP, || TcpStream::connect(("127.0.0.1", port)).is_ok())
    }

    /// Deploys the template with these parameters, and these secrets in the parameter store; with `brisk` waits where the
    /// stack is for tests of what happens after them; with `by_sam` what `sam build` has built, by `sam deploy`.
    pub(crate) fn deploy(
        &self,
        parameters: &[(&str, String)],
        secrets: &[(String, &str)],
        brisk: bool,
        by_sam: bool,
    ) -> Result<Deployed> {
        let websocket_url = self.websocket_url_of("{WebSocketApi}");
        let request = json!({
            "endpoint": self.endpoint(),
            "template": self.place.project("template.yaml"),
            "binaries": build::binaries(&self.place),
            "stack": self.stack,
            "parameters": parameters.iter().cloned().collect::<BTreeMap<_, _>>(),
            "secrets": secrets.iter().cloned().collect::<BTreeMap<_, _>>(),
            "api_ids": { "HttpApi": self.http_api_id, "WebSocketApi": self.websocket_api_id },
            "environment": {
                "WEBSOCKET_ENDPOINT": websocket_url.replace("ws://", "http://"),
                "WEBSOCKET_URL": websocket_url,
            },
            "more_environment": if brisk { BTreeMap::from(BRISK) } else { BTreeMap::new() },
            "visibility_seconds": brisk.then_some(BRISK_VISIBILITY_SECONDS),
            "sam": by_sam.then(|| json!({ "program": build::sam(&self.place), "template": build::sam_template(&self.place) })),
        });
        let deploy = setup::python_program(&self.place, "infra/local/cloud/deploy.py");
        let said = output_of(deploy, &request.to_string()).context("the local cloud refuses template.yaml")?;
        serde_json::from_str(&said).context("the deployment says something unexpected")
    }
}

/// `OrdersBulkQueue` without `Queue` -> `orders-bulk`: how people call it.
pub(crate) fn spoken(logical_id: &str, suffix: &str) -> String {
    let stem = logical_id.strip_suffix(suffix).unwrap_or(logical_id);
    let mut name = String::new();
    for letter in stem.chars() {
        if letter.is_ascii_uppercase() && !name.is_empty() {
            name.push('-');
        }
        name.push(letter.to_ascii_lowercase());
    }
    name
}

#[cfg(test)]
mod tests {
    use super::spoken;

    #[test]
    fn logical_ids_become_spoken_names() {
        assert_eq!(spoken("OrdersBulkQueue", "Queue"), "orders-bulk");
        assert_eq!(spoken("WebhookFunction", "Function"), "webhook");
    }
}

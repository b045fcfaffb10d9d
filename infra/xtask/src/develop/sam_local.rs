//! The functions as SAM builds and runs them: in Docker containers, talking to the servers of a local stack.
//!
//! | module | what it is for |
//! |---|---|
//! | [`docker`] | the daemon and its images |
//! | [`forward`] | how containers reach servers of 127.0.0.1 |

pub(crate) mod docker;
mod forward;

use std::fs;
use std::net::TcpStream;
use std::path::PathBuf;
use std::process::{Command, ExitCode};
use std::time::Duration;

use anyhow::{Context, Result};
use nix::sys::signal::Signal;
use serde_json::json;

use crate::database::postgres::Durability;
use crate::develop::build;
use crate::develop::sam_local::docker::Docker;
use crate::develop::sam_local::forward::Forwarder;
use crate::develop::stack::Stack;
use crate::develop::stack::options::StackOptions;
use crate::place::Place;
use crate::process::{output_of, tied};
use crate::progress::Step;
use crate::services::{Services, require_free};
use crate::{setup, stop};

/// The name of this machine in a container.
const HOST: &str = "host.docker.internal";
const START_UP: Duration = Duration::from_secs(60);
/// Kept of the caller's environment: the rest, and above all its AWS profile, is none of the functions' business.
const KEPT: [&str; 5] = ["PATH", "LANG", "DOCKER_HOST", "DOCKER_TLS_VERIFY", "DOCKER_CERT_PATH"];

/// `sam local start-api` and `start-lambda` beside a running stack; dropping it stops them and their containers.
pub(crate) struct SamLocal {
    pub(crate) api_url: String,
    pub(crate) lambda_url: String,
    docker: Docker,
    place: Place,
    services: Services,
    _forwarder: Option<Forwarder>,
}

/// Starts it beside a stack and stays in the foreground.
pub(crate) fn stay(port_base: u16) -> Result<ExitCode> {
    let docker = Docker::running()?;
    let place = Place::local()?;
    let options = StackOptions { port_base, ..StackOptions::default() };
    let mut stack = Stack::start(&place, &options, Durability::Kept)?;
    let mut sam = SamLocal::start(&place, &stack, docker)?;
    stack.introduce()?;
    sam.introduce();
    while !stop::requested() {
        stack.check()?;
        sam.services.check()?;
        let _ = stop::sleep(Duration::from_millis(500));
    }
    eprintln!("stopping ...");
    drop(sam);
    Ok(ExitCode::SUCCESS)
}

impl SamLocal {
    /// Builds the functions with SAM and starts it, with the settings of the functions that `stack` deployed.
    pub(crate) fn start(place: &Place, stack: &Stack, docker: Docker) -> Result<Self> {
        let ports = &stack.ports;
        require_free(ports.sam_api, "sam local start-api")?;
        require_free(ports.sam_lambda, "sam local start-lambda")?;
        docker.remove_containers(&build::sam_directory(place))?;
        if !stack.by_sam {
            build::by_sam(place)?;
        }
        let image = format!("public.ecr.aws/lambda/provided:al2023-{}", build::ARCHITECTURE);
        docker.need_image(place, &image, &build::binaries(place).join("run-worker/bootstrap"))?;

        let step = Step::start("Starting sam local");
        // Docker Desktop has a way of its own from a container to 127.0.0.1.
        let bridge = if cfg!(target_os = "linux") { Some(docker.bridge()?) } else { None };
        let doors = [ports.gateway, ports.supabase, ports.ghl];
        let forwarder = bridge.map(|bridge| Forwarder::start(bridge, doors)).transpose()?;
        settings(place, stack)?;
        let mut sam = Self {
            api_url: format!("http://127.0.0.1:{}", ports.sam_api),
            lambda_url: format!("http://127.0.0.1:{}", ports.sam_lambda),
            docker,
            place: place.clone(),
            services: Services::default(),
            _forwarder: forwarder,
        };
        let add_host = bridge.map(|bridge| format!("{HOST}:{bridge}"));
        sam.serve("sam-api", "start-api", ports.sam_api, add_host.as_deref())?;
        sam.serve("sam-lambda", "start-lambda", ports.sam_lambda, add_host.as_deref())?;
        for port in [ports.sam_api, ports.sam_lambda] {
            let listening = || TcpStream::connect(("127.0.0.1", port)).is_ok();
            sam.services.wait_for("sam local", START_UP, listening)?;
        }
        step.done();
        Ok(sam)
    }

    fn serve(&mut self, name: &'static str, door: &str, port: u16, add_host: Option<&str>) -> Result<()> {
        let home = self.place.own("sam/home");
        fs::create_dir_all(&home)?;
        let mut sam = tied(&build::sam(&self.place), "TERM");
        sam.args(["local", door, "--host", "127.0.0.1", "--port", &port.to_string()]);
        sam.arg("--config-file").arg(self.place.project("samconfig.toml"));
        sam.arg("--template").arg(template(&self.place)).arg("--env-vars").arg(env_vars(&self.place));
        // The image is here; without a registry SAM would look for a newer one in vain.
        sam.args(["--skip-pull-image", "--parameter-overrides", &build::architecture()]);
        if let Some(host) = add_host {
            sam.args(["--add-host", host]);
        }
        sam.current_dir(&home).env_clear();
        for kept in KEPT {
            if let Some(value) = std::env::var_os(kept) {
                sam.env(kept, value);
            }
        }
        sam.env("HOME", &home).env("__SAM_CLI_APP_DIR", &home).env("SAM_CLI_TELEMETRY", "0");
        sam.envs([
            ("AWS_ACCESS_KEY_ID", "test"),
            ("AWS_SECRET_ACCESS_KEY", "test"),
            ("AWS_DEFAULT_REGION", "us-east-1"),
        ]);
        self.services.start(&self.place, name, sam, Signal::SIGTERM)
    }

    /// What the tests need to know.
    pub(crate) fn tell(&self, command: &mut Command) {
        command
            .env("SAM", build::sam(&self.place))
            .env("__SAM_CLI_APP_DIR", self.place.own("sam/home"))
            .env("SAM_API_URL", &self.api_url)
            .env("SAM_LAMBDA_URL", &self.lambda_url)
            .env("SAM_TEMPLATE", template(&self.place))
            .env("SAM_ENV_VARS", env_vars(&self.place));
    }

    fn introduce(&self) {
        println!();
        println!("sam local    {} (start-api)", self.api_url);
        println!("             {} (start-lambda)", self.lambda_url);
        println!("settings     {}", env_vars(&self.place).display());
        println!();
        println!("In another terminal: sam local invoke <function> --event tests/events/<file>, or with the AWS CLI");
        println!("aws lambda invoke --endpoint-url {} --function-name <function> ...", self.lambda_url);
    }
}

impl Drop for SamLocal {
    fn drop(&mut self) {
        self.services.stop();
        let _ = self.docker.remove_containers(&build::sam_directory(&self.place));
    }
}

/// Writes the file for `--env-vars`, and names its variables in the built template.
fn settings(place: &Place, stack: &Stack) -> Result<()> {
    let request = json!({
        "endpoint": stack.file.aws_endpoint_url,
        "stack": "ghl-sync",
        "built": build::sam_template(place),
        "template": template(place),
        "env_vars": env_vars(place),
        "container_host": HOST,
    });
    let mut prepare = setup::python_program(place, "infra/local/sam/sam_local.py");
    // It asks the local cloud as `deploy.py` does.
    prepare.env("PYTHONPATH", place.project("infra/local/cloud"));
    output_of(prepare, &request.to_string()).context("the settings for sam local can't be written")?;
    Ok(())
}

/// Beside the built template, since the paths in it are relative.
fn template(place: &Place) -> PathBuf {
    build::sam_template(place).with_file_name("local.yaml")
}

fn env_vars(place: &Place) -> PathBuf {
    place.own("sam/env_vars.json")
}

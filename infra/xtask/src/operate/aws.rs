//! AWS, as whoever runs the command: their profile, region and session, and AWS_ENDPOINT_URL.
//!
//! `aws.py` beside this file does the calls with boto3: the SDK for Rust would take longer to compile than all the rest here.

use std::collections::BTreeMap;

use anyhow::{Context, Result, bail};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use crate::account::Concurrency;
use crate::operate::secret::Secret;
use crate::place::Place;
use crate::process::output_of;
use crate::setup;
use crate::stack_file::StackFile;

/// The most messages that [`Aws::send`] takes and [`Aws::receive`] gives.
pub(crate) const BATCH: usize = 10;

/// What the names of a stack's secrets begin with, as `template.yaml` has it.
pub(crate) fn secrets_of(stack: &str) -> String {
    format!("/ghl-sync/{stack}")
}

/// The name that `up` gives the local stack.
const LOCAL_STACK: &str = "ghl-sync";

pub(crate) struct Aws {
    place: Place,
    region: Option<String>,
    environment: Vec<(&'static str, String)>,
}

/// Who is asking, and where.
#[derive(Deserialize)]
pub(crate) struct Identity {
    pub(crate) account: String,
    pub(crate) arn: String,
    pub(crate) region: String,
}

/// A deployed stack: its parameters and outputs, and its queues' URLs by the names in the template.
#[derive(Deserialize)]
pub(crate) struct Deployment {
    pub(crate) name: String,
    parameters: BTreeMap<String, String>,
    outputs: BTreeMap<String, String>,
    pub(crate) queues: BTreeMap<String, String>,
}

/// Messages of a queue, approximately.
#[derive(Clone, Copy, Deserialize)]
pub(crate) struct Waiting {
    pub(crate) visible: u64,
    pub(crate) in_hand: u64,
}

/// A message in hand: nobody else gets it for half a minute.
#[derive(Deserialize, Serialize)]
pub(crate) struct InHand {
    pub(crate) body: String,
    /// The name of the queue that a dead letter was given up in.
    pub(crate) origin: Option<String>,
    receipt: String,
}

#[derive(Deserialize)]
struct GatewayRole {
    role: Option<String>,
}

#[derive(Deserialize)]
struct Exists {
    exists: bool,
}

#[derive(Deserialize)]
struct Received {
    messages: Vec<InHand>,
}

impl Deployment {
    pub(crate) fn parameter(&self, name: &str) -> Result<&str> {
        let value = self.parameters.get(name).filter(|value| !value.is_empty());
        value.map(String::as_str).with_context(|| format!("the stack has no parameter {name}: is it one of ghl-sync?"))
    }

    /// An output, such as `HttpUrl`.
    pub(crate) fn output(&self, name: &str) -> Result<&str> {
        let value = self.outputs.get(name);
        value.map(String::as_str).with_context(|| format!("the stack has no output {name}: is it one of ghl-sync?"))
    }

    /// The URL of a queue.
    pub(crate) fn queue(&self, name: &str) -> Result<&str> {
        let url = self.queues.get(name);
        url.map(String::as_str).with_context(|| format!("the stack has no queue {name}: is it one of ghl-sync?"))
    }
}

impl Aws {
    /// With the user's own credentials.
    pub(crate) fn of_the_user(place: &Place, region: Option<&str>) -> Result<Self> {
        setup::for_aws(place)?;
        Ok(Self { place: place.clone(), region: region.map(str::to_owned), environment: Vec::new() })
    }

    /// The local cloud of a running stack.
    pub(crate) fn local(place: &Place, file: &StackFile) -> Result<Self> {
        let mut aws = Self::of_the_user(place, Some("us-east-1"))?;
        aws.environment.extend([
            ("AWS_ENDPOINT_URL", file.aws_endpoint_url.clone()),
            ("AWS_ACCESS_KEY_ID", "test".to_owned()),
            ("AWS_SECRET_ACCESS_KEY", "test".to_owned()),
        ]);
        Ok(aws)
    }

    /// A deployed stack, or without a name the local one that runs.
    pub(crate) fn of_stack(place: &Place, name: Option<&str>, region: Option<&str>) -> Result<(Self, Deployment)> {
        let (aws, name) = match name {
            Some(name) => (Self::of_the_user(place, region)?, name),
            None => {
                let file = StackFile::read(place).context("give --stack NAME for a stack in AWS")?;
                (Self::local(place, &file)?, LOCAL_STACK)
            }
        };
        let deployment = aws.deployment(name)?;
        Ok((aws, deployment))
    }

    pub(crate) fn identity(&self) -> Result<Identity> {
        self.ask("identity", json!({}))
    }

    /// The values of these parameters; `None` where there is no such parameter.
    pub(crate) fn read_parameters(&self, names: &[String]) -> Result<BTreeMap<String, Option<Secret>>> {
        let found: BTreeMap<String, Option<String>> = self.ask("read_parameters", json!({ "names": names }))?;
        Ok(found.into_iter().map(|(name, value)| (name, value.map(Secret::new))).collect())
    }

    /// Writes SecureStrings, over what is there.
    pub(crate) fn write_parameters(&self, values: &BTreeMap<String, Secret>) -> Result<()> {
        let values: BTreeMap<_, _> = values.iter().map(|(name, value)| (name, value.expose())).collect();
        self.ask::<Value>("write_parameters", json!({ "values": values })).map(drop)
    }

    /// The account's concurrent executions in this region.
    pub(crate) fn concurrency(&self) -> Result<Concurrency> {
        self.ask("concurrency", json!({}))
    }

    /// The role by which API Gateway writes the access logs of WebSocket APIs in this region.
    pub(crate) fn gateway_role(&self) -> Result<Option<String>> {
        Ok(self.ask::<GatewayRole>("gateway_role", json!({}))?.role)
    }

    /// Whether CloudFormation has a stack of this name.
    pub(crate) fn has_stack(&self, stack: &str) -> Result<bool> {
        Ok(self.ask::<Exists>("has_stack", json!({ "name": stack }))?.exists)
    }

    pub(crate) fn deployment(&self, stack: &str) -> Result<Deployment> {
        self.ask("stack", json!({ "name": stack }))
    }

    /// Sends up to [`BATCH`] messages.
    pub(crate) fn send(&self, queue: &str, messages: &[impl Serialize]) -> Result<()> {
        let messages = messages.iter().map(serde_json::to_string).collect::<Result<Vec<_>, _>>()?;
        self.ask::<Value>("send", json!({ "queue": queue, "messages": messages })).map(drop)
    }

    pub(crate) fn waiting(&self, queues: &[&str]) -> Result<BTreeMap<String, Waiting>> {
        self.ask("waiting", json!({ "queues": queues }))
    }

    /// Takes up to [`BATCH`] messages into hand; those that aren't moved come back.
    pub(crate) fn receive(&self, queue: &str) -> Result<Vec<InHand>> {
        Ok(self.ask::<Received>("receive", json!({ "queue": queue }))?.messages)
    }

    /// Moves messages of `source`, as they are.
    pub(crate) fn move_messages(&self, source: &str, target: &str, messages: &[InHand]) -> Result<()> {
        let request = json!({ "source": source, "target": target, "messages": messages });
        self.ask::<Value>("move", request).map(drop)
    }

    /// Values travel by pipes only: arguments stand in the list of processes.
    fn ask<T: DeserializeOwned>(&self, operation: &str, mut request: Value) -> Result<T> {
        if let Some(fields) = request.as_object_mut() {
            fields.insert("operation".to_owned(), json!(operation));
            fields.insert("region".to_owned(), json!(self.region));
        }
        let mut command = setup::python_program(&self.place, "infra/xtask/src/operate/aws.py");
        command.envs(self.environment.iter().map(|(name, value)| (name, value)));
        let said = match output_of(command, &request.to_string()) {
            Ok(said) => said,
            // A traceback is for whoever mends aws.py; its last line tells an operator enough.
            Err(error) => bail!("{}", error.to_string().lines().last().unwrap_or_default()),
        };
        // serde's own text would quote what it read.
        serde_json::from_str(&said)
            .ok()
            .with_context(|| format!("aws.py answers {operation} with something unexpected"))
    }
}

"""Deploys `template.yaml` and the built functions to the local cloud: in about two seconds, or by `sam deploy`.

Reads one JSON object from standard input, prints one to standard output:

    in   {"endpoint", "template", "binaries", "stack", "parameters": {..}, "secrets": {name: value},
          "api_ids": {logical: id}, "environment": {variable: value},
          "more_environment": {variable: value}, "visibility_seconds": n | null, "sam": {"program", "template"} | null}
    out  {"apis": {logical: id}, "functions": {logical: name}, "queues": {logical: url}, "buckets": {logical: name}}

The template is the one AWS gets. What the local cloud needs differently is changed on the way, in `localized`:
the code comes from the build, the ids of the APIs are pinned (so that their URLs are known beforehand), and
variables that hold an address in AWS get the local one; in `environment`, `{WebSocketApi}` stands for that API's id. For tests,
`more_environment` sets variables that the template leaves to the functions' defaults, and `visibility_seconds` lets messages of a
killed function come back soon.

`sam deploy` gets the template as `sam build` has left it, and nothing of that is changed on the way: the ids of the APIs are the
local cloud's, and the local addresses are set on the deployed functions.
"""

import hashlib
import io
import json
import os
import subprocess
import sys
import time
import zipfile
from pathlib import Path

import boto3
from botocore.config import Config
from ministack.services.cloudformation.engine import _parse_template

CODE_BUCKET = "local-code"
REGION = "us-east-1"
# The tag by which ministack lets a template choose an API's id.
ID_TAG = "ms-custom-id"
LONGEST_WAIT_SECONDS = 60


def main() -> None:
    json.dump(deploy(json.load(sys.stdin)), sys.stdout)


def deploy(request: dict) -> dict:
    cloud = Cloud(request["endpoint"])
    for name, value in request["secrets"].items():
        cloud.ssm.put_parameter(Name=name, Value=value, Type="SecureString", Overwrite=True)
    if request["sam"]:
        deploy_by_sam(request)
        described = cloud.describe(request["stack"])
        addresses = {name: value.format(**described["apis"]) for name, value in request["environment"].items()}
        cloud.set_variables(described["functions"].values(), addresses)
    else:
        template = localized(_parse_template(Path(request["template"]).read_text()), request)
        cloud.make_code_bucket()
        for function in functions_of(template).values():
            function["Properties"]["CodeUri"] = cloud.upload(request["binaries"], binary_of(function))
        cloud.create_stack(request["stack"], template, known_parameters(template, request["parameters"]))
        cloud.forget_code()
        described = cloud.describe(request["stack"])
    return described


def deploy_by_sam(request: dict) -> None:
    """What somebody types who deploys to AWS, but for the endpoint. The rest stands in `samconfig.toml`."""
    overrides = [f'{name}="{value}"' for name, value in request["parameters"].items()]
    command = [request["sam"]["program"], "deploy", "--template-file", request["sam"]["template"], "--no-progressbar"]
    # SAM would look for it beside the built template.
    command += ["--config-file", str(Path(request["template"]).with_name("samconfig.toml"))]
    command += ["--stack-name", request["stack"], "--no-confirm-changeset"]
    keys = {"AWS_ACCESS_KEY_ID": "test", "AWS_SECRET_ACCESS_KEY": "test", "AWS_DEFAULT_REGION": REGION}
    done = subprocess.run(
        [*command, "--parameter-overrides", *overrides],
        cwd=Path(request["template"]).parent,
        env={**os.environ, **keys, "AWS_ENDPOINT_URL": request["endpoint"], "SAM_CLI_TELEMETRY": "0"},
        capture_output=True,
        text=True,
    )
    if done.returncode != 0:
        sys.exit(f"sam deploy failed:\n{done.stdout[-4000:]}\n{done.stderr[-4000:]}")


def localized(template: dict, request: dict) -> dict:
    """The template with local addresses and pinned API ids."""
    for logical_id, api_id in request["api_ids"].items():
        if logical_id not in template["Resources"]:
            sys.exit(f"template.yaml has no resource {logical_id}")
        properties = template["Resources"][logical_id].setdefault("Properties", {})
        properties["Tags"] = {**(properties.get("Tags") or {}), ID_TAG: api_id}

    globals_ = (template.get("Globals") or {}).get("Function") or {}
    for holder in [globals_, *(function["Properties"] for function in functions_of(template).values())]:
        variables = (holder.get("Environment") or {}).get("Variables") or {}
        for name, value in request["environment"].items():
            if name in variables:
                variables[name] = value.format(**request["api_ids"])
    common = template.setdefault("Globals", {}).setdefault("Function", {}).setdefault("Environment", {})
    common.setdefault("Variables", {}).update(request["more_environment"])
    if request["visibility_seconds"] is not None:
        for resource in template["Resources"].values():
            if resource["Type"] == "AWS::SQS::Queue":
                resource.setdefault("Properties", {})["VisibilityTimeout"] = request["visibility_seconds"]
    return template


def functions_of(template: dict) -> dict:
    resources = template["Resources"]
    return {name: r for name, r in resources.items() if r["Type"] == "AWS::Serverless::Function"}


def binary_of(function: dict) -> str:
    return function["Metadata"]["BuildProperties"]["Binary"]


def known_parameters(template: dict, wanted: dict) -> list:
    """CloudFormation refuses parameters that the template doesn't declare."""
    declared = template.get("Parameters") or {}
    return [{"ParameterKey": name, "ParameterValue": value} for name, value in wanted.items() if name in declared]


class Cloud:
    def __init__(self, endpoint: str):
        settings = {
            "endpoint_url": endpoint,
            "region_name": REGION,
            "aws_access_key_id": "test",
            "aws_secret_access_key": "test",
            "config": Config(retries={"max_attempts": 2}, s3={"addressing_style": "path"}),
        }
        self.cloudformation = boto3.client("cloudformation", **settings)
        self.s3 = boto3.client("s3", **settings)
        self.sqs = boto3.client("sqs", **settings)
        self.ssm = boto3.client("ssm", **settings)
        self.functions = boto3.client("lambda", **settings)

    def make_code_bucket(self) -> None:
        self.s3.create_bucket(Bucket=CODE_BUCKET)

    def upload(self, binaries: str, name: str) -> dict:
        path = Path(binaries) / name / "bootstrap"
        if not path.is_file():
            sys.exit(f"{path} is missing: the function {name} was not built")
        archive = io.BytesIO()
        # Stored, not compressed: it travels over the loopback only.
        with zipfile.ZipFile(archive, "w", zipfile.ZIP_STORED) as bundle:
            entry = zipfile.ZipInfo("bootstrap", (2000, 1, 1, 0, 0, 0))
            entry.external_attr = 0o755 << 16
            bundle.writestr(entry, path.read_bytes())
        code = archive.getvalue()
        key = f"{name}-{hashlib.sha256(code).hexdigest()[:16]}.zip"
        self.s3.put_object(Bucket=CODE_BUCKET, Key=key, Body=code)
        return {"Bucket": CODE_BUCKET, "Key": key}

    def create_stack(self, name: str, template: dict, parameters: list) -> None:
        self.forget_stack(name)
        self.s3.put_object(Bucket=CODE_BUCKET, Key="template.json", Body=json.dumps(template).encode())
        self.cloudformation.create_stack(
            StackName=name,
            TemplateURL=f"{self.s3.meta.endpoint_url}/{CODE_BUCKET}/template.json",
            Parameters=parameters,
            Capabilities=["CAPABILITY_IAM", "CAPABILITY_AUTO_EXPAND"],
        )
        deadline = time.monotonic() + LONGEST_WAIT_SECONDS
        status = ""
        while time.monotonic() < deadline:
            status = self.cloudformation.describe_stacks(StackName=name)["Stacks"][0]["StackStatus"]
            if status == "CREATE_COMPLETE":
                return
            if status != "CREATE_IN_PROGRESS":
                break
            time.sleep(0.1)
        sys.exit(f"the stack is {status}:\n" + "\n".join(self.failures(name)))

    def forget_stack(self, name: str) -> None:
        """A neighbour that was stopped has left its stack in the account."""
        stacks = self.cloudformation.describe_stacks()["Stacks"]
        if any(stack["StackName"] == name for stack in stacks):
            self.cloudformation.delete_stack(StackName=name)
            self.cloudformation.get_waiter("stack_delete_complete").wait(StackName=name, WaiterConfig={"Delay": 1})

    def failures(self, name: str) -> list:
        events = self.cloudformation.describe_stack_events(StackName=name)["StackEvents"]
        return [
            f"  {event['LogicalResourceId']} ({event['ResourceType']}): {event.get('ResourceStatusReason', '')}"
            for event in reversed(events)
            if "FAILED" in event["ResourceStatus"]
        ]

    def forget_code(self) -> None:
        """The functions hold their code; the bucket's copy would only cost memory."""
        for entry in self.s3.list_objects_v2(Bucket=CODE_BUCKET).get("Contents", []):
            self.s3.delete_object(Bucket=CODE_BUCKET, Key=entry["Key"])
        self.s3.delete_bucket(Bucket=CODE_BUCKET)

    def set_variables(self, functions, values: dict) -> None:
        """Gives each function the values of those variables that it has."""
        for name in functions:
            variables = self.functions.get_function_configuration(FunctionName=name)["Environment"]["Variables"]
            changed = {key: values.get(key, value) for key, value in variables.items()}
            if changed != variables:
                self.functions.update_function_configuration(FunctionName=name, Environment={"Variables": changed})

    def describe(self, name: str) -> dict:
        kinds = ("AWS::ApiGatewayV2::Api", "AWS::Lambda::Function", "AWS::SQS::Queue", "AWS::S3::Bucket")
        found: dict = {kind: {} for kind in kinds}
        for page in self.cloudformation.get_paginator("list_stack_resources").paginate(StackName=name):
            for resource in page["StackResourceSummaries"]:
                of_type = found.get(resource["ResourceType"], {})
                of_type[resource["LogicalResourceId"]] = resource["PhysicalResourceId"]
        return {
            "apis": found["AWS::ApiGatewayV2::Api"],
            "functions": found["AWS::Lambda::Function"],
            "queues": found["AWS::SQS::Queue"],
            "buckets": found["AWS::S3::Bucket"],
        }


if __name__ == "__main__":
    main()

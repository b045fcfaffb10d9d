"""Deploys an artifact (artifact.py), or goes back to an older one: uploads code and template, shows CloudFormation's changes, makes them.

Runs Python's own library and one client of AWS: the AWS CLI, which GitHub's machines bring, or boto3. So the job that may assume the
deploying role runs nothing that the build has touched.

    ship.py --artifact DIR --stack NAME [--bucket NAME] [--region NAME] [--by aws|boto3] [--this-checkout] [--yes]
            [--parameters LINES] [Name=value ...]

Parameters that aren't given keep their value in a stack that is there. Status 1 if nothing was deployed that should have been.
"""

import argparse
import base64
import hashlib
import json
import os
import re
import secrets
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path

import artifact

LONGEST_SECONDS = 60 * 60
LOOK_EVERY_SECONDS = float(os.environ.get("SHIP_LOOK_EVERY_SECONDS", "3"))
CAPABILITIES = ["CAPABILITY_IAM", "CAPABILITY_AUTO_EXPAND"]
# What CloudFormation says of a change set without changes; so far it has no other word for it.
NO_CHANGE = ("didn't contain changes", "No updates are to be performed")


class Refused(Exception):
    """AWS refuses. `code` is its word for it."""

    def __init__(self, code: str, message: str):
        super().__init__(f"{code}: {message}")
        self.code = code


class Stopped(Exception):
    """Nothing more is done. Says why in a sentence."""


class AwsCli:
    """The program `aws`."""

    def __init__(self, region: str | None):
        self.region = region or os.environ.get("AWS_REGION") or os.environ.get("AWS_DEFAULT_REGION")

    def call(self, service: str, operation: str, body: Path | None = None, **request) -> dict:
        command = ["aws", {"s3": "s3api"}.get(service, service), operation.replace("_", "-"), "--output", "json"]
        command += ["--region", self.region, "--cli-input-json", json.dumps(request)]
        command += ["--body", str(body)] if body else []
        done = subprocess.run(command, capture_output=True, text=True, env={**os.environ, "AWS_PAGER": ""})
        if done.returncode == 0:
            return json.loads(done.stdout or "{}")
        said = re.search(r"An error occurred \((\w+)\)[^:]*: (.*)", done.stderr)
        raise Refused(*said.groups()) if said else Stopped(f"aws {service} {operation}: {done.stderr.strip()[-500:]}")


class Boto3:
    """AWS's client for Python."""

    def __init__(self, region: str | None):
        import boto3

        self.session = boto3.Session(region_name=region or os.environ.get("AWS_REGION"))
        self.region = self.session.region_name

    def call(self, service: str, operation: str, body: Path | None = None, **request) -> dict:
        from botocore import exceptions

        if body:
            request["Body"] = body.read_bytes()
        try:
            return getattr(self.session.client(service), operation)(**request)
        except exceptions.ClientError as error:
            said = error.response.get("Error", {})
            raise Refused(said.get("Code", "?"), said.get("Message", "")) from error
        except exceptions.BotoCoreError as error:
            raise Stopped(f"AWS can't be asked: {type(error).__name__}") from error


@dataclass
class Bucket:
    name: str
    # The account. S3 refuses what names another owner.
    owner: str


def ship(
    aws, directory: Path, stack: str, bucket: str | None, given: dict, agreed, checkout: Path | None = None, standing: dict | None = None
) -> dict:
    """Deploys, and returns the stack's outputs. `agreed` is asked with CloudFormation's changes in words; `standing` are the parameters
    that stay with the stack whichever release it gets."""
    manifest = artifact.verify(directory, checkout)
    this = os.environ.get("GITHUB_SHA")
    if checkout and this and manifest["commit"] != this:
        raise Stopped(f"the artifact was built from {manifest['commit']}, and this is {this}")
    print(f"{manifest['version']} ({manifest['commit']}), built for {manifest['architecture']}, for schema {manifest['schema']}")
    there = need_bucket(aws, bucket)
    for function in manifest["functions"].values():
        upload(aws, there, directory / function["file"])
    path = directory / manifest["template"]["file"]
    template = path.read_text()
    address = upload(aws, there, path, f"template-{manifest['template']['sha256'][:16]}.yaml")

    before = described(aws, stack)
    if before and before["StackStatus"] == "ROLLBACK_COMPLETE":
        raise Stopped(f"{stack} could never be made: delete it (aws cloudformation delete-stack --stack-name {stack}), then deploy again")
    given = {**fitting(standing or {}, template, before), **given}
    parameters = parameters_for(template, manifest, there.name, given, before)
    name = f"ghl-sync-{int(time.time())}-{secrets.token_hex(3)}"
    aws.call(
        "cloudformation", "create_change_set", StackName=stack, ChangeSetName=name, TemplateURL=address,
        ChangeSetType="UPDATE" if before else "CREATE", Capabilities=CAPABILITIES, Parameters=parameters,
    )
    changes = changes_of(aws, stack, name)
    if changes is None:
        print("Nothing to do: the stack is as this artifact makes it.")
        return outputs_of(described(aws, stack))
    for change in changes:
        print(f"  {change}")
    if not agreed(f"Deploy {manifest['version']} to {stack}, {len(changes)} changes?"):
        aws.call("cloudformation", "delete_change_set", StackName=stack, ChangeSetName=name)
        raise Stopped("Nothing was deployed.")
    begun = time.time()
    aws.call("cloudformation", "execute_change_set", StackName=stack, ChangeSetName=name)
    return outputs_of(until_done(aws, stack, begun))


def need_bucket(aws, name: str | None) -> Bucket:
    """Private, of this account. What is in it is never overwritten by other content: names are those of the content."""
    account = aws.call("sts", "get_caller_identity")["Account"]
    bucket = Bucket(name or f"ghl-sync-artifacts-{account}-{aws.region}", account)
    try:
        aws.call("s3", "head_bucket", Bucket=bucket.name, ExpectedBucketOwner=account)
        return bucket
    except Refused as refused:
        if refused.code not in ("404", "NoSuchBucket", "NotFound"):
            words = f"the bucket {bucket.name} can't be used ({refused.code}): is it another account's? Give --bucket"
            raise Stopped(words) from refused
    where = {} if aws.region == "us-east-1" else {"CreateBucketConfiguration": {"LocationConstraint": aws.region}}
    aws.call("s3", "create_bucket", Bucket=bucket.name, **where)
    closed = {"BlockPublicAcls": True, "IgnorePublicAcls": True, "BlockPublicPolicy": True, "RestrictPublicBuckets": True}
    request = {"Bucket": bucket.name, "ExpectedBucketOwner": account, "PublicAccessBlockConfiguration": closed}
    aws.call("s3", "put_public_access_block", **request)
    return bucket


def upload(aws, bucket: Bucket, path: Path, name: str | None = None) -> str:
    """Uploads and returns the address. S3 compares the checksum with what arrives."""
    key = name or path.name
    print(f"  uploading {key}", flush=True)
    checksum = base64.b64encode(hashlib.sha256(path.read_bytes()).digest()).decode()
    request = {"Bucket": bucket.name, "ExpectedBucketOwner": bucket.owner, "Key": key, "ChecksumSHA256": checksum}
    aws.call("s3", "put_object", body=path, **request)
    endpoint = os.environ.get("AWS_ENDPOINT_URL")
    if endpoint:
        return f"{endpoint}/{bucket.name}/{key}"
    suffix = "amazonaws.com.cn" if aws.region.startswith("cn-") else "amazonaws.com"
    return f"https://{bucket.name}.s3.{aws.region}.{suffix}/{key}"


def fitting(standing: dict, template: str, before: dict | None) -> dict:
    """Without what this release's template hasn't: a later one brought it, and to go back mustn't fail by it. A new stack has nothing to
    go back from, so there it is a mistake."""
    later = standing.keys() - artifact.parameters_of(template) if before else set()
    for name in sorted(later):
        print(f"  leaving out {name}: this release doesn't know it")
    return {name: value for name, value in standing.items() if name not in later}


def parameters_in(stack: dict | None) -> set[str]:
    return {parameter["ParameterKey"] for parameter in (stack or {}).get("Parameters", [])}


def parameters_for(template: str, manifest: dict, bucket: str, given: dict, before: dict | None) -> list[dict]:
    """Those that are given, the artifact's own, and for the rest what the stack has or the template's default."""
    known = artifact.parameters_of(template)
    unknown = given.keys() - known
    if unknown:
        raise Stopped(f"the template has no parameter {', '.join(sorted(unknown))}")
    own = {artifact.BUCKET: bucket, artifact.PREFIX: "", "Architecture": manifest["architecture"]}
    for name in own.keys() & given.keys():
        if given[name] != own[name]:
            raise Stopped(f"{name} is the artifact's own: {own[name] or 'empty'}")
    values = {**given, **own}
    parameters = [{"ParameterKey": name, "ParameterValue": value} for name, value in sorted(values.items())]
    kept = sorted((known & parameters_in(before)) - values.keys())
    return parameters + [{"ParameterKey": name, "UsePreviousValue": True} for name in kept]


def described(aws, stack: str) -> dict | None:
    """The stack, or None if there is none yet."""
    try:
        found = aws.call("cloudformation", "describe_stacks", StackName=stack)["Stacks"][0]
    except Refused as refused:
        if refused.code == "ValidationError":
            return None
        raise
    return None if found["StackStatus"] == "REVIEW_IN_PROGRESS" else found


def changes_of(aws, stack: str, name: str) -> list[str] | None:
    """CloudFormation's changes in words; None if there are none, and then there is no change set any more."""
    deadline = time.monotonic() + LONGEST_SECONDS
    while time.monotonic() < deadline:
        found = aws.call("cloudformation", "describe_change_set", StackName=stack, ChangeSetName=name)
        reason = found.get("StatusReason", "")
        if found["Status"] == "FAILED":
            aws.call("cloudformation", "delete_change_set", StackName=stack, ChangeSetName=name)
            if any(words in reason for words in NO_CHANGE):
                return None
            raise Stopped(f"CloudFormation refuses the template or its parameters: {reason}")
        if found["Status"] == "CREATE_COMPLETE":
            changes = list(found.get("Changes", []))
            while found.get("NextToken"):
                more = {"StackName": stack, "ChangeSetName": name, "NextToken": found["NextToken"]}
                found = aws.call("cloudformation", "describe_change_set", **more)
                changes += found.get("Changes", [])
            return [in_words(change["ResourceChange"]) for change in changes]
        time.sleep(LOOK_EVERY_SECONDS)
    raise Stopped("CloudFormation doesn't come to an end with the change set")


def in_words(change: dict) -> str:
    replaced = ", is made anew" if change.get("Replacement") == "True" else ""
    return f"{change['Action'].lower()} {change['LogicalResourceId']} ({change['ResourceType']}{replaced})"


def until_done(aws, stack: str, begun: float) -> dict:
    """Waits for the end. A stack that failed is as it was before: CloudFormation takes back what it has done."""
    deadline = time.monotonic() + LONGEST_SECONDS
    while time.monotonic() < deadline:
        found = aws.call("cloudformation", "describe_stacks", StackName=stack)["Stacks"][0]
        status = found["StackStatus"]
        if status in ("CREATE_COMPLETE", "UPDATE_COMPLETE"):
            return found
        if not status.endswith("_IN_PROGRESS"):
            raise Stopped(f"the stack is {status}:\n" + "\n".join(failures(aws, stack)))
        time.sleep(LOOK_EVERY_SECONDS)
    raise Stopped(f"{stack} isn't done after {LONGEST_SECONDS // 60} minutes: look at its events")


def failures(aws, stack: str) -> list[str]:
    events = aws.call("cloudformation", "describe_stack_events", StackName=stack)["StackEvents"]
    failed = [event for event in events if "FAILED" in event.get("ResourceStatus", "")][:20]
    return [f"  {e['LogicalResourceId']} ({e['ResourceType']}): {e.get('ResourceStatusReason', '')}" for e in reversed(failed)]


def outputs_of(stack: dict) -> dict:
    return {output["OutputKey"]: output["OutputValue"] for output in stack.get("Outputs", [])}


def parameter(text: str) -> tuple[str, str]:
    name, equals, value = text.partition("=")
    if not equals or not re.fullmatch(r"\w+", name):
        raise argparse.ArgumentTypeError("a parameter is like LocationId=...")
    return name, value.strip('"')


def agreed(question: str) -> bool:
    if not sys.stdin.isatty():
        raise Stopped("nobody is there to confirm: give --yes")
    return input(f"{question} [y/N] ").strip().lower() in ("y", "yes")


def main() -> None:
    parser = argparse.ArgumentParser(description="Deploys an artifact.")
    parser.add_argument("--artifact", type=Path, required=True)
    parser.add_argument("--stack", required=True)
    parser.add_argument("--bucket")
    parser.add_argument("--region")
    parser.add_argument("--by", choices=["aws", "boto3"], default="aws")
    parser.add_argument(
        "--this-checkout", action="store_true",
        help="refuse a template that isn't this checkout's, and on GitHub what another commit was built into",
    )
    parser.add_argument("--yes", action="store_true")
    parser.add_argument(
        "--parameters", default="", metavar="LINES",
        help="an environment's, one Name=value a line; one that a later release brought is left out",
    )
    parser.add_argument("given", type=parameter, nargs="*", metavar="Name=value")
    given = parser.parse_args()
    try:
        lines = [line.strip() for line in given.parameters.splitlines()]
        standing = dict(parameter(line) for line in lines if line and not line.startswith("#"))
    except argparse.ArgumentTypeError as error:
        parser.error(str(error))
    aws = {"aws": AwsCli, "boto3": Boto3}[given.by](given.region)
    if not aws.region:
        sys.exit("error: There is no AWS region: give --region, or set AWS_REGION")
    try:
        outputs = ship(
            aws, given.artifact, given.stack, given.bucket, dict(given.given),
            (lambda _: True) if given.yes else agreed, artifact.PROJECT if given.this_checkout else None, standing,
        )
    except (artifact.Damaged, Refused, Stopped) as refused:
        sys.exit(f"error: {refused}")
    for name, value in outputs.items():
        print(f"{name}: {value}")
    if os.environ.get("GITHUB_OUTPUT"):
        with open(os.environ["GITHUB_OUTPUT"], "a") as file:
            file.write(f"http_url={outputs.get('HttpUrl', '')}\n")


if __name__ == "__main__":
    main()

"""Talks to AWS for `cargo xtask configure` and `redrive`, as whoever runs them.

Credentials, profiles, SSO and AWS_ENDPOINT_URL hold as for the AWS CLI. Reads one JSON object from standard input, prints
one to standard output:

    in   {"operation": "identity" | .., "region": name | null, ..}
    out  what the operation's function says

A refusal is a sentence on standard error and status 1. It never holds a parameter's value.
"""

import json
import os
import sys

import boto3
from botocore import exceptions
from botocore.config import Config

CONFIG = Config(connect_timeout=5, read_timeout=30, retries={"mode": "standard", "max_attempts": 3})
SIGN_IN = "Sign in (aws sso login, aws configure), or set AWS_PROFILE"
# The most that SQS takes or gives in one call, and SSM in one reading.
BATCH = 10
# Long enough to hand ten messages on, short enough that what is left comes back soon.
IN_HAND_SECONDS = 30
# The ARN of the queue that a dead letter comes from.
ORIGIN = "DeadLetterQueueSourceArn"


def main() -> None:
    request = json.load(sys.stdin)
    region = request.get("region") or os.environ.get("AWS_REGION") or None
    try:
        session = boto3.Session(region_name=region)
        region = session.region_name
        if region is None:
            sys.exit("There is no AWS region: give --region, or set AWS_REGION")
        answer = OPERATIONS[request["operation"]](Clients(session), request)
    except Refused as refused:
        sys.exit(f"{refused} (region {region})")
    except (exceptions.BotoCoreError, exceptions.ClientError) as error:
        sys.exit(describe(error, region))
    json.dump(answer, sys.stdout)


class Refused(Exception):
    """What AWS answered can't be used; says so in a sentence."""


class Clients:
    def __init__(self, session: boto3.Session):
        self.region = session.region_name
        self.client = lambda service: session.client(service, config=CONFIG)


def identity(clients: Clients, _request: dict) -> dict:
    """{"account", "arn", "region"}: who is asking."""
    said = clients.client("sts").get_caller_identity()
    return {"account": said["Account"], "arn": said["Arn"], "region": clients.region}


def read_parameters(clients: Clients, request: dict) -> dict:
    """{name: value | null} of {"names"}."""
    names = request["names"]
    found = dict.fromkeys(names)
    ssm = clients.client("ssm")
    for start in range(0, len(names), BATCH):
        said = ssm.get_parameters(Names=names[start : start + BATCH], WithDecryption=True)
        found.update({parameter["Name"]: parameter["Value"] for parameter in said["Parameters"]})
    return found


def write_parameters(clients: Clients, request: dict) -> dict:
    """{"written": [names]} of {"values": {name: value}}."""
    ssm = clients.client("ssm")
    for name, value in request["values"].items():
        ssm.put_parameter(Name=name, Value=value, Type="SecureString", Overwrite=True)
    return {"written": list(request["values"])}


def concurrency(clients: Clients, _request: dict) -> dict:
    """{"limit", "unreserved"}: the account's concurrent executions."""
    said = clients.client("lambda").get_account_settings()["AccountLimit"]
    return {"limit": said["ConcurrentExecutions"], "unreserved": said["UnreservedConcurrentExecutions"]}


def gateway_role(clients: Clients, _request: dict) -> dict:
    """{"role": arn | null}: by which API Gateway writes the access logs of this account's WebSocket APIs in the region."""
    return {"role": clients.client("apigateway").get_account().get("cloudwatchRoleArn") or None}


def described(cloudformation, name: str) -> dict | None:
    """The stack of this name, if there is one."""
    try:
        return cloudformation.describe_stacks(StackName=name)["Stacks"][0]
    except exceptions.ClientError as error:
        if error.response["Error"]["Code"] == "ValidationError":
            return None
        raise


def has_stack(clients: Clients, request: dict) -> dict:
    """{"exists": bool}: whether there is a stack {"name"}."""
    return {"exists": described(clients.client("cloudformation"), request["name"]) is not None}


def stack(clients: Clients, request: dict) -> dict:
    """{"name", "parameters": {name: value}, "outputs": {name: value}, "queues": {logical: url}} of the stack {"name"}."""
    name, cloudformation = request["name"], clients.client("cloudformation")
    found = described(cloudformation, name)
    if found is None:
        raise Refused(f"There is no stack {name}: is it another --stack, --region or account?")
    queues = {}
    for page in cloudformation.get_paginator("list_stack_resources").paginate(StackName=name):
        for resource in page["StackResourceSummaries"]:
            if resource["ResourceType"] == "AWS::SQS::Queue":
                queues[resource["LogicalResourceId"]] = resource["PhysicalResourceId"]
    parameters = {p["ParameterKey"]: p["ParameterValue"] for p in found.get("Parameters", [])}
    outputs = {o["OutputKey"]: o["OutputValue"] for o in found.get("Outputs", [])}
    return {"name": name, "parameters": parameters, "outputs": outputs, "queues": queues}


def send(clients: Clients, request: dict) -> dict:
    """{"sent": n} of {"queue": url, "messages": [text]}, ten at most."""
    entries = [{"Id": str(n), "MessageBody": body} for n, body in enumerate(request["messages"])]
    said = clients.client("sqs").send_message_batch(QueueUrl=request["queue"], Entries=entries)
    failed = said.get("Failed", [])
    if failed:
        raise Refused(f"{len(failed)} of {len(entries)} messages were refused: {failed[0]['Code']}")
    return {"sent": len(entries)}


def waiting(clients: Clients, request: dict) -> dict:
    """{url: {"visible", "in_hand"}} of {"queues": [url]}."""
    sqs = clients.client("sqs")
    names = ["ApproximateNumberOfMessages", "ApproximateNumberOfMessagesNotVisible"]
    counts = {}
    for url in request["queues"]:
        said = sqs.get_queue_attributes(QueueUrl=url, AttributeNames=names)["Attributes"]
        counts[url] = {"visible": int(said[names[0]]), "in_hand": int(said[names[1]])}
    return counts


def receive(clients: Clients, request: dict) -> dict:
    """{"messages": [{"body", "receipt", "origin"}]} of {"queue": url}: up to ten, which come back if they aren't moved.

    The origin is the name of the queue in which a dead letter was given up; null if it was sent here.
    """
    said = clients.client("sqs").receive_message(
        QueueUrl=request["queue"], MaxNumberOfMessages=BATCH, VisibilityTimeout=IN_HAND_SECONDS, WaitTimeSeconds=1,
        MessageSystemAttributeNames=[ORIGIN],
    )
    messages = []
    for message in said.get("Messages", []):
        origin = message.get("Attributes", {}).get(ORIGIN, "").rpartition(":")[2]
        messages.append({"body": message["Body"], "receipt": message["ReceiptHandle"], "origin": origin or None})
    return {"messages": messages}


def move(clients: Clients, request: dict) -> dict:
    """{"moved": n} of {"source": url, "target": url, "messages": [{"body", "receipt"}]}: hands on what was received.

    A message is sent before it is deleted: a crash in between duplicates it, which no reader minds.
    """
    sqs = clients.client("sqs")
    for message in request["messages"]:
        sqs.send_message(QueueUrl=request["target"], MessageBody=message["body"])
        sqs.delete_message(QueueUrl=request["source"], ReceiptHandle=message["receipt"])
    return {"moved": len(request["messages"])}


OPERATIONS = {
    "identity": identity,
    "read_parameters": read_parameters,
    "write_parameters": write_parameters,
    "concurrency": concurrency,
    "gateway_role": gateway_role,
    "has_stack": has_stack,
    "stack": stack,
    "send": send,
    "waiting": waiting,
    "receive": receive,
    "move": move,
}


def describe(error: Exception, region: str) -> str:
    """The sentence for an error. Only what is known to quote nothing of a request is repeated."""
    if isinstance(error, exceptions.ClientError):
        return describe_answer(error, region)
    if isinstance(error, exceptions.ProfileNotFound):
        return f"{error}: set AWS_PROFILE to one that ~/.aws/config has"
    if isinstance(error, (exceptions.NoCredentialsError, exceptions.PartialCredentialsError)):
        return f"There are no AWS credentials. {SIGN_IN}"
    if isinstance(error, exceptions.InvalidRegionError):
        return f"{region} is no AWS region: give another --region, or set AWS_REGION"
    if isinstance(error, (exceptions.EndpointConnectionError, exceptions.ConnectTimeoutError)):
        return f"AWS doesn't answer in region {region}: is the region spelled right, and is there a network?"
    if "SSO" in type(error).__name__ or "Token" in type(error).__name__:
        return f"The AWS session is over. {SIGN_IN}"
    return f"AWS can't be asked in region {region}: {type(error).__name__}"


def describe_answer(error: exceptions.ClientError, region: str) -> str:
    said = error.response.get("Error", {})
    code, operation = said.get("Code", "?"), error.operation_name
    if code.startswith("ExpiredToken") or code == "RequestExpired":
        return f"The AWS credentials have expired. {SIGN_IN}"
    if code in ("InvalidClientTokenId", "UnrecognizedClientException", "SignatureDoesNotMatch", "InvalidSignatureException"):
        return f"AWS refuses the credentials in region {region} ({code}): they are wrong, or the region isn't enabled. {SIGN_IN}"
    if code.startswith("AccessDenied"):
        return f"AWS doesn't allow it ({operation} in region {region}): {said.get('Message', '')}"
    return f"AWS refuses {operation} in region {region}: {code}"


if __name__ == "__main__":
    main()

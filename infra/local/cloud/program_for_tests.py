"""A function as the tests of the local cloud need them: does what its variable `DOES` says, and notes it in the file `NOTES`.

Like `lambda_runtime` and the AWS SDK for Rust it keeps the trace of an invocation in the environment and sends it with each request.
"""

import json
import os
import time
import urllib.request

import boto3

API = f"http://{os.environ['AWS_LAMBDA_RUNTIME_API']}/2018-06-01/runtime/invocation"


def write(line: str) -> None:
    with open(os.environ["NOTES"], "a") as notes:
        notes.write(line + "\n")


def loop(event: dict) -> None:
    """Sends a message's number and one to its own queue, up to `MOST`."""
    for record in event["Records"]:
        number = int(record["body"])
        write(str(number))
        if number < int(os.environ["MOST"]):
            entries = [{"Id": "0", "MessageBody": str(number + 1)}]
            boto3.client("sqs").send_message_batch(QueueUrl=os.environ["QUEUE_URL"], Entries=entries)


def hold(event: dict) -> dict:
    """Notes how often its message was received, and ends when the file `RELEASE` is there."""
    records = event.get("Records", [])
    write(" ".join(record["attributes"]["ApproximateReceiveCount"] for record in records) or "-")
    while not os.path.exists(os.environ["RELEASE"]):
        time.sleep(0.02)
    return {"statusCode": 200, "isAuthorized": True}


def note(event: dict) -> dict:
    """Notes who it is, and for each message the queue."""
    sources = [record["eventSourceARN"].rpartition(":")[2] for record in event.get("Records", [])]
    for source in sources or ["http"]:
        write(f"{os.environ['AWS_LAMBDA_FUNCTION_NAME']} {source}")
    return {"statusCode": 202}


def brief(_event: dict) -> dict:
    time.sleep(0.1)
    return {"statusCode": 202}


while True:
    with urllib.request.urlopen(f"{API}/next") as invocation:
        event, headers = json.load(invocation), invocation.headers
    os.environ["_X_AMZN_TRACE_ID"] = headers.get("Lambda-Runtime-Trace-Id", "")
    answer = {"loop": loop, "hold": hold, "note": note, "brief": brief}[os.environ["DOES"]](event)
    url = f"{API}/{headers['Lambda-Runtime-Aws-Request-Id']}/response"
    urllib.request.urlopen(url, data=json.dumps(answer).encode()).close()

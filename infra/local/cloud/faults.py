"""Faults of the local cloud, on request: what AWS does rarely, tests need now.

`POST /_local/faults` orders one, `GET` lists them with their counts, `DELETE` ends them all. A fault is

    {"service": "sqs" | "ssm" | "s3" | "connections",
     "kind": "refuse" | "hang" | "delay" | "hold" | "late" | "drop_once" | "duplicate",
     "queue": "tickets", "method": "PUT", "seconds": 2, "times": 3}

`queue` (sqs: the start of the queue's name without the stack's) and `method` (s3) narrow it; without `times` it stays.
For SQS it befalls SendMessageBatch, the only call by which the functions send.

| kind | what the caller sees |
|---|---|
| `refuse` | 503 |
| `hang` | no answer until so many seconds after the first call that met it; whoever still waits then is served, and nothing hangs any more |
| `delay` | the right answer, so many seconds late; what it does is done before |
| `hold` | the right answer, so many seconds late; what it does is done after |
| `late` | sqs: success, and the messages arrive so many seconds later (at most 900) than they should |
| `drop_once` | sqs: success, but what is sent of each order, and each different other message, is lost the first time |
| `duplicate` | sqs: each message is sent twice |
"""

import asyncio
import json
import math
import time

from botocore.auth import SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials

# The account's owner, as ministack knows it.
OWNER = Credentials("test", "test")
PATH = "/_local/faults"
faults: list = []


def wrap(app):
    """An ASGI application that serves the control and lets ordered faults happen before `app`."""

    async def with_faults(scope, receive, send):
        if scope["type"] != "http":
            return await app(scope, receive, send)
        if scope["path"] == PATH:
            return await control(scope, receive, send)
        # Without faults nothing is touched: bodies stream as they did.
        if not faults:
            return await app(scope, receive, send)
        call = Call(scope, receive, app)
        await call.identify()
        fault = due(call)
        if fault is None:
            return await call.pass_on(send)
        await befall(fault, call, send)

    return with_faults


class Call:
    """A request whose body was read, so that it can be looked at and passed on, more than once if need be."""

    def __init__(self, scope, receive, app):
        self.scope, self.receive, self.app = scope, receive, app
        self.body = b""
        self.service = self.queue = None
        self.method = scope["method"]

    async def identify(self):
        self.body = await read(self.receive)
        headers = {name.decode("latin-1").lower(): value.decode("latin-1") for name, value in self.scope["headers"]}
        target = headers.get("x-amz-target", "")
        if target == "AmazonSQS.SendMessageBatch":
            self.service = "sqs"
            self.queue = json.loads(self.body)["QueueUrl"].rsplit("/", 1)[-1].lower()
        elif target.startswith("AmazonSSM."):
            self.service = "ssm"
        elif "/@connections/" in self.scope["path"]:
            self.service = "connections"
        elif "/s3/aws4_request" in headers.get("authorization", ""):
            self.service = "s3"

    async def pass_on(self, send, body=None):
        headers = self.scope["headers"] if body is None else self.signed(body)
        body = self.body if body is None else body
        given = [{"type": "http.request", "body": body, "more_body": False}]

        async def receive():
            return given.pop() if given else await self.receive()

        headers = [(name, value) for name, value in headers if name.lower() != b"content-length"]
        scope = {**self.scope, "headers": [*headers, (b"content-length", str(len(body)).encode())]}
        await self.app(scope, receive, send)

    def signed(self, body):
        """The headers for another body: the caller's signature is for the body it sent, and ministack checks it."""
        headers = {name.decode("latin-1").lower(): value.decode("latin-1") for name, value in self.scope["headers"]}
        # With the caller's trace, or its messages would begin a new chain.
        kept = ("host", "content-type", "x-amz-target", "x-amzn-trace-id")
        kept = {name: headers[name] for name in kept if name in headers}
        url = f"http://{kept.get('host', '127.0.0.1')}{self.scope['path']}"
        request = AWSRequest(method=self.method, url=url, data=body, headers=kept)
        SigV4Auth(OWNER, self.service, "us-east-1").add_auth(request)
        return [(name.lower().encode(), value.encode("latin-1")) for name, value in request.headers.items()]

    async def answer(self, body=None):
        """Status and body of the application's answer."""
        status, parts = 0, []

        async def keep(message):
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
            elif message["type"] == "http.response.body":
                parts.append(message.get("body", b""))

        await self.pass_on(keep, body)
        return status, b"".join(parts)


    async def gone(self):
        """Returns once the caller has given up."""
        while (await self.receive())["type"] != "http.disconnect":
            pass


def due(call):
    for fault in faults:
        fits = fault["service"] == call.service and fault.get("times") != 0
        fits = fits and time.monotonic() < fault.get("until", math.inf)
        fits = fits and fault.get("method", call.method) == call.method
        # Names of queues read <stack>-<logical id>-<random>: "tickets" is in ghl-sync-ticketsqueue-..., and the dead letters'
        # queue has a word more.
        wanted = fault.get("queue")
        if wanted is not None:
            fits = fits and f"-{wanted.replace('-', '')}queue-" in f"-{call.queue}-"
        if fits:
            fault["count"] = fault.get("count", 0) + 1
            if fault["kind"] == "hang":
                fault.setdefault("until", time.monotonic() + fault["seconds"])
            if "times" in fault:
                fault["times"] -= 1
            return fault
    return None


async def befall(fault, call, send):
    kind = fault["kind"]
    if kind == "refuse":
        await respond(send, 503, {"__type": "ServiceUnavailable", "message": "refused by a fault"})
    elif kind == "hang":
        await hang(fault, call, send)
    elif kind == "hold":
        await asyncio.sleep(fault["seconds"])
        await call.pass_on(send)
    elif kind == "delay":
        status, body = await call.answer()
        await asyncio.sleep(fault["seconds"])
        await respond(send, status, body)
    elif kind == "late":
        await late(fault, call, send)
    elif kind == "duplicate":
        await call.answer()
        await call.pass_on(send)
    elif kind == "drop_once":
        await drop_once(fault, call, send)


async def hang(fault, call, send):
    """What nobody waits for any more isn't done."""
    gone = asyncio.ensure_future(call.gone())
    # In steps, since faults that are ended let everybody go on.
    while fault in faults and time.monotonic() < fault["until"] and not gone.done():
        await asyncio.wait([gone], timeout=min(0.1, max(0, fault["until"] - time.monotonic())))
    if gone.done():
        return
    gone.cancel()
    await call.pass_on(send)


async def late(fault, call, send):
    request = json.loads(call.body)
    for entry in request["Entries"]:
        entry["DelaySeconds"] = min(entry.get("DelaySeconds", 0) + fault["seconds"], 900)
    await call.pass_on(send, json.dumps(request).encode())


def named(body):
    """The orders that a message is about, or the message itself: the same order is sent alone or with others, at other times."""
    try:
        message = json.loads(body)
        orders = [order["order_id"] for order in message.get("orders", [])]
        return [*message.get("order_ids", []), *orders, *filter(None, [message.get("order_id")])] or [body]
    except (ValueError, AttributeError, TypeError, KeyError):
        return [body]


async def drop_once(fault, call, send):
    request = json.loads(call.body)
    seen = fault.setdefault("seen", [])
    kept, dropped = [], []
    for entry in request["Entries"]:
        new = [name for name in named(entry["MessageBody"]) if name not in seen]
        (dropped if new else kept).append(entry)
        seen.extend(new)
    answer = {"Successful": [], "Failed": []}
    if kept:
        _, body = await call.answer(json.dumps({**request, "Entries": kept}).encode())
        answer = json.loads(body)
    lost = [{"Id": entry["Id"], "MessageId": f"lost-{entry['Id']}", "MD5OfMessageBody": ""} for entry in dropped]
    answer["Successful"] = answer.get("Successful", []) + lost
    await respond(send, 200, answer)


async def control(scope, receive, send):
    if scope["method"] == "DELETE":
        faults.clear()
    elif scope["method"] == "POST":
        fault = json.loads(await read(receive))
        problem = wrong(fault)
        if problem:
            return await respond(send, 400, {"error": problem})
        faults.append(fault)
    shown = [{k: v for k, v in fault.items() if k not in ("seen", "until")} for fault in faults]
    await respond(send, 200, {"faults": shown})


def wrong(fault):
    if fault.get("service") not in ("sqs", "ssm", "s3", "connections"):
        return "service must be sqs, ssm, s3 or connections"
    if fault.get("kind") not in ("refuse", "hang", "delay", "hold", "late", "drop_once", "duplicate"):
        return "kind must be refuse, hang, delay, hold, late, drop_once or duplicate"
    if fault["kind"] in ("late", "drop_once", "duplicate") and fault["service"] != "sqs":
        return f"{fault['kind']} is for sqs"
    if fault["kind"] in ("hang", "delay", "hold") and not isinstance(fault.get("seconds"), (int, float)):
        return "seconds is missing"
    if fault["kind"] == "late" and not isinstance(fault.get("seconds"), int):
        return "seconds must be a whole number"
    return None


async def read(receive):
    body, more = b"", True
    while more:
        message = await receive()
        body += message.get("body", b"")
        more = message.get("more_body", False)
    return body


async def respond(send, status, body):
    payload = body if isinstance(body, bytes) else json.dumps(body).encode()
    headers = [(b"content-type", b"application/x-amz-json-1.0"), (b"content-length", str(len(payload)).encode())]
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": payload})

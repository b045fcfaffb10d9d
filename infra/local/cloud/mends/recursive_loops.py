"""A chain of messages ends at the 17th invocation of one function, unless that function allows it.

On AWS a message carries its chain: the SDK sends the invocation's trace header with every request (`X-Amzn-Trace-Id`), SQS keeps it as
the message's `AWSTraceHeader`, and its `Lineage` counts how often each function was invoked since the chain began
(`Lineage=a87bd80c:1|68fd508a:5`). Lambda doesn't make the 17th invocation of a function, counts it as `RecursiveInvocationsDropped` and
sends its message to the queue's dead-letter queue, unless the function has `RecursiveLoop: Allow`. ministack counts only functions that
invoke each other directly: a loop through a queue would go on for ever here and stand still on AWS after a minute. From a template it
doesn't take `RecursiveLoop` either.

A batch goes on with the longest of its messages' chains. Loops through SNS and S3, which Lambda sees too, nobody here can build.
"""

import contextvars
import secrets
import time
import zlib

MOST_INVOCATIONS = 16
METRIC = "RecursiveInvocationsDropped"

# The trace header of the request that is served now, and the chain that the next invocation continues.
_sender = contextvars.ContextVar("sender", default=None)
_chain = contextvars.ContextVar("chain", default=None)


def apply() -> None:
    from ministack.services import lambda_svc, sqs
    from ministack.services.cloudformation import provisioners

    _keep_the_setting(provisioners._RESOURCE_HANDLERS["AWS::Lambda::Function"], lambda_svc)
    _keep_the_header(sqs)

    trace_id, run_batch = lambda_svc._xray_trace_id_for_invocation, lambda_svc._run_sqs_batch

    def trace_id_with_lineage(config, inbound=None):
        header = Header(_chain.get() or trace_id(config, inbound) or _new_trace())
        header.count(config["FunctionName"])
        return str(header)

    def run_batch_within_its_chains(mapping, function, event, batch, queue_url, queue_name):
        kept, chain = [], None
        for record in event["Records"]:
            header = Header(record["attributes"].get("AWSTraceHeader") or "")
            if header.invocations(mapping["FunctionName"]) >= MOST_INVOCATIONS and not _is_allowed(function):
                _drop(record["messageId"], mapping["FunctionName"], queue_url)
                continue
            kept.append(record)
            chain = header if chain is None else chain.joined(header)
        if not kept:
            return
        ids = {record["messageId"] for record in kept}
        batch = [message for message in batch if message["id"] in ids]
        token = _chain.set(str(chain))
        try:
            run_batch(mapping, function, {**event, "Records": kept}, batch, queue_url, queue_name)
        finally:
            _chain.reset(token)

    lambda_svc._xray_trace_id_for_invocation = trace_id_with_lineage
    lambda_svc._run_sqs_batch = run_batch_within_its_chains


def _keep_the_setting(handlers: dict, lambda_svc) -> None:
    create, update = handlers["create"], handlers["update"]

    def keep(name, props):
        lambda_svc._functions[name]["recursive_loop"] = props.get("RecursiveLoop", "Terminate")

    def create_with_setting(logical_id, props, stack_name):
        name, attributes = create(logical_id, props, stack_name)
        keep(name, props)
        return name, attributes

    def update_with_setting(physical_id, old_props, new_props, stack_name, logical_id=None):
        updated = update(physical_id, old_props, new_props, stack_name, logical_id)
        keep(physical_id, new_props)
        return updated

    handlers["create"], handlers["update"] = create_with_setting, update_with_setting


def _keep_the_header(sqs) -> None:
    """A message gets the trace header of the request that sends it."""
    serve, attributes = sqs.handle_request, sqs._build_send_sys_attrs

    async def serve_with_header(method, path, headers, body, query_params):
        _sender.set(headers.get("x-amzn-trace-id"))
        return await serve(method, path, headers, body, query_params)

    def attributes_with_header(now, given):
        header = _sender.get()
        return {**({"AWSTraceHeader": header} if header else {}), **attributes(now, given)}

    sqs.handle_request, sqs._build_send_sys_attrs = serve_with_header, attributes_with_header


def _is_allowed(function: dict) -> bool:
    return function.get("recursive_loop") == "Allow"


def _drop(message_id: str, function: str, queue_url: str) -> None:
    """Into the dead-letter queue; without one the message is gone."""
    from ministack.services import cloudwatch, sqs

    with sqs._queues_lock:
        queue = sqs._get_q(queue_url)
        for message in queue["messages"]:
            if message["id"] == message_id:
                # As a message that was received too often: ministack moves it, and notes where it comes from.
                message["visible_at"], message["receive_count"] = 0, max(message["receive_count"], 1000)
        sqs._dlq_sweep(queue)
        queue["messages"] = [message for message in queue["messages"] if message["id"] != message_id]
    cloudwatch.record_metric("AWS/Lambda", METRIC, 1, "Count", {"FunctionName": function})


def _new_trace() -> str:
    return f"Root=1-{int(time.time()):08x}-{secrets.token_hex(12)};Parent={secrets.token_hex(8)};Sampled=0"


class Header:
    """A trace header, taken apart: `Root=...;Parent=...;Sampled=1;Lineage=<function>:<invocations>|...`."""

    def __init__(self, text: str):
        self.fields = dict(part.split("=", 1) for part in text.split(";") if "=" in part)
        lineage = self.fields.pop("Lineage", "")
        counts = (entry.rsplit(":", 1) for entry in lineage.split("|") if ":" in entry)
        self.lineage = {function: int(count) for function, count in counts if count.isdigit()}

    def invocations(self, function: str) -> int:
        return self.lineage.get(_hashed(function), 0)

    def count(self, function: str) -> None:
        if "Root" not in self.fields:
            self.fields = Header(_new_trace()).fields
        self.lineage[_hashed(function)] = self.invocations(function) + 1

    def joined(self, other: "Header") -> "Header":
        """This trace, with the longer chain of each function."""
        for function, count in other.lineage.items():
            self.lineage[function] = max(count, self.lineage.get(function, 0))
        return self

    def __str__(self) -> str:
        lineage = "|".join(f"{function}:{count}" for function, count in self.lineage.items())
        fields = {**self.fields, **({"Lineage": lineage} if lineage else {})}
        return ";".join(f"{name}={value}" for name, value in fields.items())


def _hashed(function: str) -> str:
    return f"{zlib.crc32(function.encode()):08x}"

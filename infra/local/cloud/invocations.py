"""When the functions ran: what AWS bills, and how many ran at the same time.

ministack tells durations only in logs that it keeps in memory. `GET /_local/invocations` tells of the last ones, oldest first

    {"invocations": [{"function": "<name>", "started": 1764000000.12, "ended": 1764000000.37}, ..]}

in seconds since the epoch; `ended` is null while one runs. Starting a function's process counts, as on AWS; what was refused
for the account's limit doesn't. `DELETE` forgets all that have ended.
"""

import collections
import json
import time

PATH = "/_local/invocations"
# A stack may run for weeks.
MOST = 200_000
noted: collections.deque = collections.deque(maxlen=MOST)


def watch() -> None:
    from ministack.services import lambda_svc

    dispatch = lambda_svc._execute_function_dispatch

    def dispatch_and_note(func, config, event, request_id, started):
        invocation = {"function": config.get("FunctionName", ""), "started": time.time(), "ended": None}
        noted.append(invocation)
        try:
            return dispatch(func, config, event, request_id, started)
        finally:
            invocation["ended"] = time.time()

    lambda_svc._execute_function_dispatch = dispatch_and_note


def wrap(app):
    """An ASGI application that answers `PATH` and passes on everything else."""

    async def with_invocations(scope, receive, send):
        if scope["type"] != "http" or scope["path"] != PATH:
            return await app(scope, receive, send)
        # In one step, since functions start meanwhile.
        found = list(noted)
        if scope["method"] == "DELETE":
            running = [invocation for invocation in found if invocation["ended"] is None]
            noted.clear()
            noted.extend(running)
            found = running
        body = json.dumps({"invocations": found}).encode()
        headers = [(b"content-type", b"application/json"), (b"content-length", str(len(body)).encode())]
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        await send({"type": "http.response.body", "body": body})

    return with_invocations

"""Which permissions the functions' roles have, which they have used, and what they were refused.

ministack checks the roles of the template at each call (`AUTH=true`). `GET /_local/grants` tells what came of it:

    {"<role>": {"granted": [["sqs:SendMessage", "arn:..."], ..], "used": [..], "refused": [..]}, ..}
"""

import json

PATH = "/_local/grants"
used: dict = {}
refused: dict = {}


def watch() -> None:
    from ministack.core import iam_evaluator
    from ministack.services import sts

    enforce = iam_evaluator.enforce

    def enforce_and_note(access_key_id, iam_action, service, region, resource_arn="*", service_context=None):
        denied = enforce(access_key_id, iam_action, service, region, resource_arn, service_context)
        # arn:aws:sts::<account>:assumed-role/<role>/<session>
        principal = (sts._sessions.get(access_key_id) or {}).get("Arn", "")
        if ":assumed-role/" in principal:
            noted = refused if denied else used
            noted.setdefault(principal.split("/")[1], set()).add((iam_action, resource_arn))
        return denied

    iam_evaluator.enforce = enforce_and_note


def wrap(app):
    """An ASGI application that answers `PATH` and passes on everything else."""

    async def with_grants(scope, receive, send):
        if scope["type"] != "http" or scope["path"] != PATH:
            return await app(scope, receive, send)
        body = json.dumps(report()).encode()
        headers = [(b"content-type", b"application/json"), (b"content-length", str(len(body)).encode())]
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        await send({"type": "http.response.body", "body": body})

    return with_grants


def report() -> dict:
    from ministack.services import iam

    roles = {}
    for name, role in iam._roles.items():
        granted = set()
        for document in (role.get("InlinePolicies") or {}).values():
            document = json.loads(document) if isinstance(document, str) else document
            for statement in document["Statement"]:
                granted |= {(a, r) for a in listed(statement["Action"]) for r in listed(statement["Resource"])}
        roles[name] = {
            "granted": sorted(granted),
            "used": sorted(used.get(name, ())),
            "refused": sorted(refused.get(name, ())),
        }
    return roles


def listed(value) -> list:
    return value if isinstance(value, list) else [value]

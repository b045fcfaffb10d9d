"""An HTTP API refuses what is above its stage's throttling limits.

On AWS `RouteSettings` and `DefaultRouteSettings` limit the requests of a route by a token bucket: a burst, refilled at
the rate; what finds it empty gets 429 without any function being invoked. ministack keeps the settings and lets everything through,
so that a flood would reach the functions here and not on AWS. Routes without settings of their own share one bucket here.
"""

import json
import re
import time

TOO_MANY = (429, {"Content-Type": "application/json"}, json.dumps({"message": "Too Many Requests"}).encode())


def apply() -> None:
    from ministack.services import apigateway

    execute, buckets = apigateway.handle_execute, {}

    async def execute_within_limits(api_id, stage, path, method, *args, **kwargs):
        settings = apigateway.stages_for_api(api_id).get(stage) or {}
        route, own = settings_of(settings.get("routeSettings") or {}, method, path)
        limits = own or settings.get("defaultRouteSettings") or {}
        rate, burst = limits.get("ThrottlingRateLimit"), limits.get("ThrottlingBurstLimit")
        if rate and burst:
            bucket = buckets.setdefault((api_id, stage, route if own else None), Bucket(float(burst)))
            if not bucket.take(float(rate), float(burst)):
                return TOO_MANY[0], dict(TOO_MANY[1]), TOO_MANY[2]
        return await execute(api_id, stage, path, method, *args, **kwargs)

    apigateway.handle_execute = execute_within_limits


def settings_of(of_routes: dict, method: str, path: str) -> tuple:
    """The key and the settings of the route that a request takes; of `/tickets/{id}` as well."""
    for route, limits in of_routes.items():
        verb, _, template = route.partition(" ")
        pattern = "/".join("[^/]+" if part.startswith("{") else re.escape(part) for part in template.split("/"))
        if verb == method and re.fullmatch(pattern, path):
            return route, limits
    return f"{method} {path}", None


class Bucket:
    def __init__(self, tokens: float):
        self.tokens, self.at = tokens, time.monotonic()

    def take(self, rate: float, burst: float) -> bool:
        now = time.monotonic()
        self.tokens, self.at = min(burst, self.tokens + (now - self.at) * rate), now
        if self.tokens < 1:
            return False
        self.tokens -= 1
        return True

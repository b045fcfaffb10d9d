"""What a WebSocket route's function returns isn't sent to the client.

On AWS a route is one-way unless it has a route response (`RouteResponseSelectionExpression`): the function's
answer ends in the gateway, and a client hears only what is posted to its connection. ministack sends the body in
every case, so that a function which relies on that would work here and be silent on AWS.
"""


def apply() -> None:
    from ministack.services import apigateway

    invoke = apigateway._invoke_ws_lambda

    async def invoke_one_way(api_id, account_id, region, route, stage, connection_id, event_type, *args, **kwargs):
        reply = await invoke(api_id, account_id, region, route, stage, connection_id, event_type, *args, **kwargs)
        if event_type == "MESSAGE" and isinstance(reply, dict) and not route.get("routeResponseSelectionExpression"):
            return {key: value for key, value in reply.items() if key != "body"}
        return reply

    apigateway._invoke_ws_lambda = invoke_one_way

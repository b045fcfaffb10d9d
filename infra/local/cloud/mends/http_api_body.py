"""Routes, integrations and authorizers of an HTTP API come from its `Body`.

SAM turns `AWS::Serverless::HttpApi` and the `HttpApi` events of the functions into one `AWS::ApiGatewayV2::Api`
whose `Body` is an OpenAPI document. AWS imports that document. ministack leaves it aside: the API would have no
route at all. Its tags are in the document too, among them the one that pins the API's id.
"""

ANY_METHOD = "x-amazon-apigateway-any-method"
INTEGRATION = "x-amazon-apigateway-integration"
AUTHORIZER = "x-amazon-apigateway-authorizer"
TAG_VALUE = "x-amazon-apigateway-tag-value"
CORS = "x-amazon-apigateway-cors"


def apply() -> None:
    from ministack.services.cloudformation import provisioners

    handlers = provisioners._RESOURCE_HANDLERS["AWS::ApiGatewayV2::Api"]
    create, update = handlers["create"], handlers["update"]

    def create_with_body(logical_id, props, stack_name):
        api_id, attributes = create(logical_id, _completed(props), stack_name)
        _import(api_id, props.get("Body"))
        return api_id, attributes

    def update_with_body(physical_id, old_props, new_props, stack_name, logical_id=None):
        old, new = _completed(old_props), _completed(new_props)
        api_id, attributes = update(physical_id, old, new, stack_name, logical_id)
        _import(api_id, new_props.get("Body"))
        return api_id, attributes

    handlers["create"], handlers["update"] = create_with_body, update_with_body


def _completed(props: dict) -> dict:
    """The properties with what only the document says: name, CORS, tags."""
    body = props.get("Body")
    if not isinstance(body, dict):
        return props
    props = dict(props)
    props.setdefault("Name", (body.get("info") or {}).get("title") or "api")
    if body.get(CORS):
        props.setdefault("CorsConfiguration", body[CORS])
    tags = {tag["name"]: tag[TAG_VALUE] for tag in body.get("tags") or [] if TAG_VALUE in tag}
    if tags:
        props["Tags"] = {**tags, **(props.get("Tags") or {})}
    return props


def _import(api_id: str, body) -> None:
    if not isinstance(body, dict):
        return
    from ministack.services import apigateway

    schemes = (body.get("components") or {}).get("securitySchemes") or {}
    authorizers = {name: _authorizer(name, scheme[AUTHORIZER]) for name, scheme in schemes.items() if AUTHORIZER in scheme}
    integrations, routes = {}, {}
    for path, operations in (body.get("paths") or {}).items():
        for method, operation in operations.items():
            if not isinstance(operation, dict) or INTEGRATION not in operation:
                continue
            integration = _integration(operation[INTEGRATION])
            route = _route(path, method, operation, integration, authorizers)
            integrations[integration["integrationId"]] = integration
            routes[route["routeId"]] = route

    apigateway._authorizers[api_id] = {record["authorizerId"]: record for record in authorizers.values()}
    apigateway._integrations[api_id] = integrations
    apigateway._routes[api_id] = routes


def _authorizer(name: str, scheme: dict) -> dict:
    sources = scheme.get("identitySource") or []
    if isinstance(sources, str):
        sources = [source.strip() for source in sources.split(",")]
    record = {
        "authorizerId": _new_id(),
        "name": name,
        "authorizerType": scheme.get("type", "request").upper(),
        "authorizerUri": scheme.get("authorizerUri", ""),
        "identitySource": sources,
        "authorizerPayloadFormatVersion": str(scheme.get("authorizerPayloadFormatVersion", "1.0")),
        "enableSimpleResponses": bool(scheme.get("enableSimpleResponses", False)),
        "authorizerResultTtlInSeconds": int(scheme.get("authorizerResultTtlInSeconds", 300) or 0),
    }
    if record["authorizerType"] == "JWT":
        jwt = scheme.get("jwtConfiguration") or {}
        record["jwtConfiguration"] = {"audience": jwt.get("audience", []), "issuer": jwt.get("issuer", "")}
    return record


def _integration(definition: dict) -> dict:
    return {
        "integrationId": _new_id(),
        "integrationType": definition.get("type", "AWS_PROXY").upper(),
        "integrationUri": definition.get("uri", ""),
        "integrationMethod": definition.get("httpMethod", "POST"),
        "payloadFormatVersion": str(definition.get("payloadFormatVersion", "2.0")),
        "timeoutInMillis": 30000,
        "connectionType": "INTERNET",
    }


def _route(path: str, method: str, operation: dict, integration: dict, authorizers: dict) -> dict:
    verb = "ANY" if method == ANY_METHOD else method.upper()
    route = {
        "routeId": _new_id(),
        "routeKey": "$default" if path == "/$default" else f"{verb} {path}",
        "target": f"integrations/{integration['integrationId']}",
        "authorizationType": "NONE",
        "authorizationScopes": [],
        "apiKeyRequired": False,
    }
    for requirement in operation.get("security") or []:
        for name in requirement:
            if name in authorizers:
                is_jwt = authorizers[name]["authorizerType"] == "JWT"
                route["authorizationType"] = "JWT" if is_jwt else "CUSTOM"
                route["authorizerId"] = authorizers[name]["authorizerId"]
    return route


def _new_id() -> str:
    from ministack.core.responses import new_uuid

    return new_uuid()[:8]

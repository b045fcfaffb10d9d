"""CORS settings of an API from a template are understood.

A template spells them `AllowOrigins`, ministack looks for `allowOrigins` and keeps what it was given: a browser
page from another origin would be refused.
"""


def apply() -> None:
    from ministack.services.cloudformation import provisioners

    handlers = provisioners._RESOURCE_HANDLERS["AWS::ApiGatewayV2::Api"]
    create, update = handlers["create"], handlers["update"]

    def create_with_cors(logical_id, props, stack_name):
        return create(logical_id, _respelled(props), stack_name)

    def update_with_cors(physical_id, old_props, new_props, stack_name, logical_id=None):
        return update(physical_id, _respelled(old_props), _respelled(new_props), stack_name, logical_id)

    handlers["create"], handlers["update"] = create_with_cors, update_with_cors


def _respelled(props: dict) -> dict:
    cors = props.get("CorsConfiguration")
    if not isinstance(cors, dict):
        return props
    return {**props, "CorsConfiguration": {key[:1].lower() + key[1:]: value for key, value in cors.items()}}

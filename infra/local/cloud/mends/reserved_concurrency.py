"""`ReservedConcurrentExecutions` in a template limits the function.

ministack enforces the limit when it is set by API, but doesn't take it from a template.
"""


def apply() -> None:
    from ministack.services.cloudformation import provisioners

    handlers = provisioners._RESOURCE_HANDLERS["AWS::Lambda::Function"]
    create = handlers["create"]

    def create_with_limit(logical_id, props, stack_name):
        name, attributes = create(logical_id, props, stack_name)
        limit = props.get("ReservedConcurrentExecutions")
        if limit is not None:
            from ministack.services import lambda_svc

            status, _, body = lambda_svc._put_function_concurrency(name, {"ReservedConcurrentExecutions": int(limit)})
            if status >= 300:
                raise ValueError(body.decode())
        return name, attributes

    handlers["create"] = create_with_limit

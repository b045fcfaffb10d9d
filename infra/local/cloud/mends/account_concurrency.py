"""An account runs only so many functions at a time, and who is refused sees what AWS shows.

A new AWS account has 10 concurrent executions. What is reserved for a function is taken from those of all others, which keep at least
100, or all of a smaller account. Above the limit, which ministack knows (`LAMBDA_ACCOUNT_CONCURRENCY`):

| who calls | on AWS | ministack as it is |
|---|---|---|
| a queue's poller | tries the same batch again until the queue's visibility time-out; one receive is counted | gives up at once |
| a schedule, an asynchronous invocation | stays in Lambda's own queue for up to six hours | lost, or after two retries |
| an HTTP API | 503 | 429 |
| an HTTP API's authorizer | 500 | 500 |
| the Invoke API | 429, `TooManyRequestsException` | 429 |

A mapping whose `MaximumConcurrency` is below 2 is refused, as on AWS; from a template ministack takes any.
"""

import contextvars
import json
import threading
import time

# How long AWS keeps an asynchronous event.
ASYNCHRONOUS_SECONDS = 6 * 3600
SHORTEST_PAUSE_SECONDS = 0.05
LONGEST_PAUSE_SECONDS = 1.0
# What an account must leave to functions without a reservation.
LEAST_UNRESERVED = 100
UNAVAILABLE = {
    "statusCode": 503,
    "headers": {"Content-Type": "application/json"},
    "body": json.dumps({"message": "Service Unavailable"}),
}

# Until when whoever calls now tries again.
_patient_until = contextvars.ContextVar("patient_until", default=0.0)


def apply() -> None:
    from ministack.services import eventbridge, lambda_svc
    from ministack.services.cloudformation import provisioners

    _retry(lambda_svc, eventbridge)
    _tell_the_callers_of_apis(lambda_svc)
    _count_reservations(lambda_svc)
    _refuse_single_pollers(provisioners._RESOURCE_HANDLERS["AWS::Lambda::EventSourceMapping"], lambda_svc)


class _Patient:
    """Calls within this block try again for so many seconds while the account is full."""

    def __init__(self, seconds: float):
        self.seconds = seconds

    def __enter__(self):
        self.token = _patient_until.set(time.monotonic() + self.seconds)

    def __exit__(self, *_):
        _patient_until.reset(self.token)


def _retry(lambda_svc, eventbridge) -> None:
    execute, run_batch = lambda_svc._execute_function, lambda_svc._run_sqs_batch
    invoke_later, dispatch = lambda_svc.invoke_async_with_retry, eventbridge._dispatch_to_lambda

    def execute_patiently(function, event):
        pause = SHORTEST_PAUSE_SECONDS
        while True:
            result = execute(function, event)
            left = _patient_until.get() - time.monotonic()
            if not result.get("throttle") or left <= 0:
                return result
            time.sleep(min(pause, left))
            pause = min(2 * pause, LONGEST_PAUSE_SECONDS)

    def run_batch_patiently(mapping, function, event, batch, queue_url, queue_name):
        with _Patient(_visibility(queue_url)):
            run_batch(mapping, function, event, batch, queue_url, queue_name)

    def invoke_later_patiently(function, event):
        # ministack's thread inherits it.
        with _Patient(ASYNCHRONOUS_SECONDS):
            invoke_later(function, event)

    def dispatch_patiently(arn, payload):
        function, config, _ = lambda_svc._get_func_record_for_ref(arn)
        if not function or not config:
            return dispatch(arn, payload)
        record = lambda_svc._execution_record_for_config(function, config)
        with _Patient(ASYNCHRONOUS_SECONDS):
            context = contextvars.copy_context()
        arguments = (lambda_svc._execute_function_with_config_scope, record, json.loads(payload))
        threading.Thread(target=context.run, args=arguments, daemon=True).start()

    lambda_svc._execute_function, lambda_svc._run_sqs_batch = execute_patiently, run_batch_patiently
    lambda_svc.invoke_async_with_retry, eventbridge._dispatch_to_lambda = invoke_later_patiently, dispatch_patiently


def _visibility(queue_url: str) -> int:
    from ministack.services import sqs

    return int(sqs._get_q(queue_url)["attributes"].get("VisibilityTimeout", "30"))


def _tell_the_callers_of_apis(lambda_svc) -> None:
    answer = lambda_svc.lambda_execute_result_to_api_proxy_response

    def answer_or_unavailable(result):
        return (dict(UNAVAILABLE), None) if result.get("throttle") else answer(result)

    lambda_svc.lambda_execute_result_to_api_proxy_response = answer_or_unavailable


def _count_reservations(lambda_svc) -> None:
    acquire, put = lambda_svc._acquire_execution_slot, lambda_svc._put_function_concurrency
    deciding = threading.Lock()

    def reserved(apart_from=None) -> dict:
        """What is reserved, by function, as ministack counts their executions."""
        limits = {}
        for name, function in list(lambda_svc._functions.items()):
            limit = lambda_svc._reserved_concurrency(function, function["config"])
            if limit is not None and name != apart_from:
                limits[lambda_svc._inflight_key(function["config"])] = limit
        return limits

    def acquire_beside_reservations(function, config):
        account = lambda_svc._ACCOUNT_CONCURRENCY_CAP
        limits = reserved()
        with deciding:
            if account > 0 and limits and lambda_svc._inflight_key(config) not in limits:
                _, running = lambda_svc.executions_in_flight()
                if sum(n for key, n in running.items() if key not in limits) >= account - sum(limits.values()):
                    return None, "account"
            return acquire(function, config)

    def put_if_there_is_enough(name, data):
        account = lambda_svc._ACCOUNT_CONCURRENCY_CAP
        least = min(LEAST_UNRESERVED, account)
        left = account - sum(reserved(apart_from=name).values()) - int(data.get("ReservedConcurrentExecutions", 0))
        if account > 0 and left < least:
            message = (
                "Specified ReservedConcurrentExecutions for function decreases account's UnreservedConcurrentExecution "
                f"below its minimum value of [{least}]."
            )
            return lambda_svc.error_response_json("InvalidParameterValueException", message, 400)
        return put(name, data)

    lambda_svc._acquire_execution_slot = acquire_beside_reservations
    lambda_svc._put_function_concurrency = put_if_there_is_enough


def _refuse_single_pollers(handlers: dict, lambda_svc) -> None:
    create = handlers["create"]

    def create_if_allowed(logical_id, props, stack_name):
        most = (props.get("ScalingConfig") or {}).get("MaximumConcurrency")
        if most is not None:
            scaling = {"ScalingConfig": {"MaximumConcurrency": int(most)}}
            refusal = lambda_svc._validate_scaling_config(scaling, props.get("EventSourceArn", ""))
            if refusal:
                raise ValueError(refusal[2].decode())
        return create(logical_id, props, stack_name)

    handlers["create"] = create_if_allowed

"""What is put right in ministack 1.5.33 at start, one module each.

A mend is a module with `apply()`, called once before ministack serves. Its docstring says what AWS does, what
ministack does and what would break here.
"""

from . import (
    account_concurrency,
    alarm_math,
    cors_case,
    function_log,
    http_api_body,
    log_wait,
    recursive_loops,
    reserved_concurrency,
    runtime_api_delay,
    schedule_conflict,
    secure_transport,
    sqs_batch_actions,
    sqs_batch_size,
    throttling,
    websocket_reply,
)

ALL = (
    runtime_api_delay,
    log_wait,
    function_log,
    cors_case,  # inside http_api_body, which hands it the settings it finds in the document
    http_api_body,
    reserved_concurrency,
    account_concurrency,
    recursive_loops,
    schedule_conflict,
    secure_transport,
    sqs_batch_actions,
    sqs_batch_size,
    throttling,
    websocket_reply,
    alarm_math,
)


def apply_all() -> None:
    for mend in ALL:
        mend.apply()

"""An invocation doesn't wait for log lines.

After each invocation ministack waits up to 50 ms for a first line of output, also when there is none. A line that
comes later is taken along by the next invocation (and stands in the function log at once), so 2 ms are enough.
Only the defaults change: the longer wait that it asks for after a failed start stays.
"""

FIRST_LINE_SECONDS = 0.002
QUIET_SECONDS = 0.001
LONGEST_SECONDS = 0.250


def apply() -> None:
    from ministack.core import lambda_runtime

    lambda_runtime.Worker._drain_stderr_bounded.__defaults__ = (
        FIRST_LINE_SECONDS,
        QUIET_SECONDS,
        LONGEST_SECONDS,
    )

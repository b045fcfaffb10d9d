"""What the functions print stands in one file, as it comes.

On AWS a function's output is in CloudWatch Logs. ministack keeps it in memory, to be asked for by API, and gone
when it stops; a crash at start would leave nothing to read. With FUNCTION_LOG set, each line is also appended to
that file, with the function's name before it.
"""

import os
import threading


class _Tee:
    """A function's output stream that copies each line to the log."""

    def __init__(self, stream, function: str, log, lock):
        self._stream, self._function, self._log, self._lock = stream, function, log, lock

    def readline(self):
        line = self._stream.readline()
        if line:
            text = line.decode("utf-8", errors="replace") if isinstance(line, bytes) else line
            with self._lock:
                self._log.write(f"{self._function} {text.rstrip()}\n")
        return line

    def close(self) -> None:
        self._stream.close()


def apply() -> None:
    path = os.environ.get("FUNCTION_LOG")
    if not path:
        return

    from ministack.core import lambda_runtime

    log, lock = open(path, "a", buffering=1, encoding="utf-8"), threading.Lock()
    pump = lambda_runtime.ProvidedWorker._pump_output

    def pump_and_copy(self, stream, log_queue):
        pump(self, _Tee(stream, self.func_name, log, lock), log_queue)

    lambda_runtime.ProvidedWorker._pump_output = pump_and_copy

"""A local cloud of a test's own, in a process of its own, on a free port."""

import contextlib
import os
import signal
import socket
import subprocess
import sys
import tempfile
import time
import unittest
import urllib.error
import urllib.request
from pathlib import Path

import deploy

HERE = Path(__file__).resolve().parent
TEMPLATE = HERE.parents[2] / "template.yaml"
STARTS_WITHIN_SECONDS = 30
WITHIN_SECONDS = 30
PARAMETERS = {
    "LocationId": "Location1",
    "SupabaseUrl": "https://project.example.co",
    "WatchEnabled": "false",
    "SchedulesEnabled": "false",
}


class OwnCloud(unittest.TestCase):
    # Those of the cloud, beside what every test needs.
    variables: dict = {}

    def setUp(self):
        directory = tempfile.TemporaryDirectory()
        self.addCleanup(directory.cleanup)
        self.directory = Path(directory.name)
        self.notes = self.directory / "notes"
        self.notes.touch()
        self.endpoint = self.start()

    def start(self) -> str:
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            port = probe.getsockname()[1]
        environment = {
            **{name: os.environ[name] for name in ("PATH", "LANG") if name in os.environ},
            **{"HOME": str(self.directory), "TMPDIR": str(self.directory), "PYTHONDONTWRITEBYTECODE": "1"},
            **{"GATEWAY_PORT": str(port), "BIND_HOST": "127.0.0.1", "MINISTACK_HOST": "127.0.0.1"},
            **{"AWS_ACCESS_KEY_ID": "test", "AWS_SECRET_ACCESS_KEY": "test", "IOT_MTLS_ENABLED": "0", "SFTP_ENABLED": "0"},
            **{"AWS_ENDPOINT_URL": f"http://127.0.0.1:{port}", "DOCKER_HOST": "unix:///nonexistent/docker.sock"},
            **self.variables,
        }
        log = self.directory / "cloud.log"
        with log.open("w") as output:
            cloud = subprocess.Popen(
                [sys.executable, "-u", str(HERE / "launcher.py")], env=environment, stdout=output, stderr=output,
                process_group=0)
        self.addCleanup(self.end_functions_of, cloud)
        self.addCleanup(cloud.wait)
        self.addCleanup(cloud.terminate)
        deadline = time.monotonic() + STARTS_WITHIN_SECONDS
        while time.monotonic() < deadline and cloud.poll() is None:
            try:
                socket.create_connection(("127.0.0.1", port), timeout=1).close()
                return f"http://127.0.0.1:{port}"
            except OSError:
                time.sleep(0.05)
        self.fail(f"the local cloud doesn't start:\n{log.read_text()[-2000:]}")

    def end_functions_of(self, cloud: subprocess.Popen) -> None:
        """A function that is held outlives the cloud, in its group of processes."""
        with contextlib.suppress(ProcessLookupError):
            os.killpg(cloud.pid, signal.SIGKILL)

    def program(self, name: str) -> None:
        """What a function of this name runs."""
        program = self.directory / "functions" / name / "bootstrap"
        program.parent.mkdir(parents=True, exist_ok=True)
        program.write_text(f"#!{sys.executable}\n" + (HERE / "program_for_tests.py").read_text())

    def deploy(self, stack: str, variables: dict, **parameters) -> dict:
        """The project's own template, with functions that all do the same."""
        template = deploy._parse_template(TEMPLATE.read_text())
        for function in deploy.functions_of(template).values():
            self.program(deploy.binary_of(function))
        return deploy.deploy({
            "endpoint": self.endpoint, "template": str(TEMPLATE), "binaries": str(self.directory / "functions"),
            "stack": stack, "secrets": {}, "api_ids": {}, "environment": {}, "more_environment": variables,
            "visibility_seconds": None, "sam": None, "parameters": {**PARAMETERS, **parameters},
        })

    def noted(self) -> list[str]:
        return self.notes.read_text().split("\n")[:-1]

    def wait_for(self, what: str, condition) -> None:
        deadline = time.monotonic() + WITHIN_SECONDS
        while not condition():
            self.assertLess(time.monotonic(), deadline, f"{what} doesn't come: {self.noted()}")
            time.sleep(0.05)

    def status(self, url: str, method: str = "GET", **headers) -> int:
        request = urllib.request.Request(url, method=method, headers=headers)
        try:
            with urllib.request.urlopen(request, timeout=WITHIN_SECONDS) as answer:
                return answer.status
        except urllib.error.HTTPError as refusal:
            with refusal:
                return refusal.code

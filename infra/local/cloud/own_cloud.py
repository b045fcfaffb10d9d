"""A local cloud of a test's own, in a process of its own, on a free port."""

import os
import socket
import subprocess
import sys
import tempfile
import time
import unittest
from pathlib import Path

HERE = Path(__file__).resolve().parent
TEMPLATE = HERE.parents[2] / "template.yaml"
STARTS_WITHIN_SECONDS = 30


class OwnCloud(unittest.TestCase):
    # Those of the cloud, beside what every test needs.
    variables: dict = {}

    def setUp(self):
        directory = tempfile.TemporaryDirectory()
        self.addCleanup(directory.cleanup)
        self.directory = Path(directory.name)
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
                [sys.executable, "-u", str(HERE / "launcher.py")], env=environment, stdout=output, stderr=output)
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

"""Two stacks of `template.yaml` in one account and region, such as production and staging. Run by `cargo xtask test mends`.

A local cloud of its own, with functions that do nothing: what counts is that nothing in the template has a name that a
second stack can't have too.
"""

import os
import socket
import subprocess
import sys
import tempfile
import time
import unittest
from pathlib import Path

import deploy

HERE = Path(__file__).resolve().parent
TEMPLATE = HERE.parents[2] / "template.yaml"
STARTS_WITHIN_SECONDS = 30
PARAMETERS = {
    "LocationId": "Location1",
    "SupabaseUrl": "https://project.example.co",
    "WatchEnabled": "false",
    "SchedulesEnabled": "false",
}


class TwoStacks(unittest.TestCase):
    def setUp(self):
        self.directory = tempfile.TemporaryDirectory()
        self.addCleanup(self.directory.cleanup)
        self.binaries = Path(self.directory.name) / "functions"
        template = deploy._parse_template(TEMPLATE.read_text())
        for function in deploy.functions_of(template).values():
            program = self.binaries / deploy.binary_of(function) / "bootstrap"
            program.parent.mkdir(parents=True)
            program.write_text("#!/bin/sh\nexec sleep 600\n")
        self.endpoint = self.start()

    def start(self) -> str:
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            port = probe.getsockname()[1]
        environment = {
            **{name: os.environ[name] for name in ("PATH", "LANG") if name in os.environ},
            **{"HOME": self.directory.name, "TMPDIR": self.directory.name, "PYTHONDONTWRITEBYTECODE": "1"},
            **{"GATEWAY_PORT": str(port), "BIND_HOST": "127.0.0.1", "MINISTACK_HOST": "127.0.0.1", "AUTH": "true"},
            **{"AWS_ACCESS_KEY_ID": "test", "AWS_SECRET_ACCESS_KEY": "test", "IOT_MTLS_ENABLED": "0", "SFTP_ENABLED": "0"},
            **{"AWS_ENDPOINT_URL": f"http://127.0.0.1:{port}", "DOCKER_HOST": "unix:///nonexistent/docker.sock"},
        }
        log = Path(self.directory.name) / "cloud.log"
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

    def deploy(self, stack: str) -> dict:
        return deploy.deploy({
            "endpoint": self.endpoint,
            "template": str(TEMPLATE),
            "binaries": str(self.binaries),
            "stack": stack,
            "parameters": PARAMETERS,
            "secrets": {},
            "api_ids": {},
            "environment": {},
            "more_environment": {},
            "visibility_seconds": None,
            "sam": None,
        })

    def names(self, stack: str) -> set:
        """What the stack's resources are called, with their kinds; but for stages, whose names belong to their API."""
        pages = deploy.Cloud(self.endpoint).cloudformation.get_paginator("list_stack_resources").paginate(StackName=stack)
        resources = [resource for page in pages for resource in page["StackResourceSummaries"]]
        names = {(resource["ResourceType"], resource["PhysicalResourceId"]) for resource in resources}
        return {(kind, name) for kind, name in names if kind != "AWS::ApiGatewayV2::Stage"}

    def test_a_second_stack_is_made_and_shares_nothing_with_the_first(self):
        for stack in ("ghl-sync", "ghl-sync-staging"):
            described = self.deploy(stack)
            self.assertEqual(len(described["functions"]), 12)
        first, second = self.names("ghl-sync"), self.names("ghl-sync-staging")
        self.assertEqual(len(first), len(second))
        self.assertEqual(len([kind for kind, _ in first if kind == "AWS::Scheduler::Schedule"]), 3)
        self.assertEqual(first & second, set())


if __name__ == "__main__":
    unittest.main()

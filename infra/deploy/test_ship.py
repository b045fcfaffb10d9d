"""Deploys artifacts to a local cloud of the test's own: one, a newer one, and the older one again. Run by `cargo xtask test mends`."""

import contextlib
import io
import json
import os
import stat
import tempfile
import unittest
from pathlib import Path
from unittest import mock

import artifact
import boto3
import deploy
import ship
from own_cloud import PARAMETERS, OwnCloud

KEYS = {"AWS_ACCESS_KEY_ID": "test", "AWS_SECRET_ACCESS_KEY": "test", "AWS_DEFAULT_REGION": "us-east-1"}


class Shipped(OwnCloud):
    def setUp(self):
        super().setUp()
        environment = {**KEYS, "AWS_ENDPOINT_URL": self.endpoint, "SHIP_LOOK_EVERY_SECONDS": "0.1"}
        patched = mock.patch.dict(os.environ, environment)
        patched.start()
        self.addCleanup(patched.stop)
        quick = mock.patch.object(ship, "LOOK_EVERY_SECONDS", 0.1)
        quick.start()
        self.addCleanup(quick.stop)
        self.aws = ship.Boto3(None)

    def artifact(self, version: str) -> Path:
        """Of functions that all answer, and differ by a comment."""
        for name in artifact.BUILDS.findall((artifact.PROJECT / "template.yaml").read_text()):
            self.program(name)
            with (self.directory / "functions" / name / "bootstrap").open("a") as program:
                program.write(f"# {version}\n")
        out = self.directory / f"artifact-{version}"
        # These programs are scripts.
        with mock.patch.object(artifact.glibc, "too_new", return_value=[]):
            artifact.make(self.directory / "functions", out, "x86_64", version, f"commit-{version}")
        return out

    def ship(self, directory: Path, agreed=lambda _: True, stack="ghl-sync", **parameters) -> tuple[dict, str]:
        said = io.StringIO()
        with contextlib.redirect_stdout(said):
            outputs = ship.ship(self.aws, directory, stack, None, parameters, agreed)
        return outputs, said.getvalue()

    def code(self, stack="ghl-sync") -> dict:
        functions = deploy.Cloud(self.endpoint).describe(stack)["functions"]
        client = boto3.client("lambda")
        return {name: client.get_function_configuration(FunctionName=real)["CodeSha256"] for name, real in functions.items()}

    def test_an_artifact_is_deployed_replaced_and_deployed_again(self):
        first, second = self.artifact("0.1.0"), self.artifact("0.2.0")
        with self.assertRaisesRegex(ship.Stopped, "Nothing was deployed"):
            self.ship(first, lambda _: False, **PARAMETERS)
        outputs, said = self.ship(first, **PARAMETERS)
        self.assertEqual(outputs["Release"], "0.1.0 commit-0.1.0")
        self.assertIn("HttpUrl", outputs)
        self.assertIn("add GateFunction (AWS::Lambda::Function)", said)
        before = self.code()
        self.assertEqual(len(before), 12)

        # Parameters that aren't given stay.
        outputs, said = self.ship(second, LogLevel="debug")
        self.assertEqual(outputs["Release"], "0.2.0 commit-0.2.0")
        self.assertTrue(all(code != before[name] for name, code in self.code().items()))
        stack = boto3.client("cloudformation").describe_stacks(StackName="ghl-sync")["Stacks"][0]
        has = {p["ParameterKey"]: p["ParameterValue"] for p in stack["Parameters"]}
        self.assertEqual((has["LocationId"], has["LogLevel"]), (PARAMETERS["LocationId"], "debug"))

        # Back, in one command.
        outputs, _ = self.ship(first)
        self.assertEqual(outputs["Release"], "0.1.0 commit-0.1.0")
        self.assertEqual(self.code(), before)

    def test_staging_and_production_get_the_very_same(self):
        directory = self.artifact("0.1.0")
        stacks = ("ghl-sync-staging", "ghl-sync-prod")
        addresses = {self.ship(directory, stack=stack, **PARAMETERS)[0]["HttpUrl"] for stack in stacks}
        self.assertEqual(len(addresses), 2)
        self.assertEqual(self.code(stacks[0]), self.code(stacks[1]))
        # Each reads its own secrets.
        client, cloud = boto3.client("lambda"), deploy.Cloud(self.endpoint)
        for stack in stacks:
            gate = cloud.describe(stack)["functions"]["GateFunction"]
            variables = client.get_function_configuration(FunctionName=gate)["Environment"]["Variables"]
            secret = f"/ghl-sync/{stack}/supabase-service-role-key"
            self.assertEqual(variables["SUPABASE_SERVICE_ROLE_KEY_PARAMETER"], secret)

    def test_what_is_wrong_deploys_nothing(self):
        directory = self.artifact("0.1.0")
        for parameters, words in [
            ({**PARAMETERS, "LocationID": "a"}, "no parameter LocationID"),
            ({**PARAMETERS, "Architecture": "arm64"}, "Architecture is the artifact's own: x86_64"),
        ]:
            with self.assertRaisesRegex(ship.Stopped, words):
                self.ship(directory, **parameters)
        manifest = json.loads((directory / "manifest.json").read_text())
        (directory / manifest["functions"]["gate"]["file"]).write_bytes(b"another program")
        with self.assertRaisesRegex(artifact.Damaged, "gate.* isn't what was built"):
            self.ship(directory, **PARAMETERS)
        self.assertIsNone(ship.described(self.aws, "ghl-sync"))


class ByTheCli(unittest.TestCase):
    """The program `aws`, of which there is a stand-in here: it prints what it was called with."""

    def call(self, script: str, *arguments, **request):
        temporary = tempfile.TemporaryDirectory()
        self.addCleanup(temporary.cleanup)
        directory = Path(temporary.name)
        program = directory / "aws"
        program.write_text("#!/bin/sh\n" + script)
        program.chmod(program.stat().st_mode | stat.S_IXUSR)
        with mock.patch.dict(os.environ, {"PATH": f"{directory}:{os.environ['PATH']}"}):
            return ship.AwsCli("eu-central-1").call(*arguments, **request)

    def test_a_call_is_written_as_the_cli_reads_it(self):
        echo = 'exec python3 -c "import json, sys; print(json.dumps(sys.argv[1:]))" "$@"\n'
        said = self.call(echo, "s3", "put_object", Path("/code.zip"), Bucket="b", Key="k")
        self.assertEqual(said[:6], ["s3api", "put-object", "--output", "json", "--region", "eu-central-1"])
        self.assertEqual((said[6], json.loads(said[7])), ("--cli-input-json", {"Bucket": "b", "Key": "k"}))
        self.assertEqual(said[8:10], ["--body", "/code.zip"])
        self.assertEqual(self.call("exit 0\n", "s3", "head_bucket", Bucket="b"), {})

    def test_a_refusal_is_told_by_its_code(self):
        script = 'echo "An error occurred (ValidationError) when calling the DescribeStacks operation: no such stack" >&2; exit 254\n'
        with self.assertRaises(ship.Refused) as refused:
            self.call(script, "cloudformation", "describe_stacks", StackName="x")
        self.assertEqual((refused.exception.code, str(refused.exception)), ("ValidationError", "ValidationError: no such stack"))
        with self.assertRaisesRegex(ship.Stopped, "Unable to locate credentials"):
            self.call("echo 'Unable to locate credentials' >&2; exit 253\n", "sts", "get_caller_identity")


if __name__ == "__main__":
    unittest.main()

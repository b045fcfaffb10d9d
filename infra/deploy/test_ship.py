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

COMMIT = "0123abcdef" * 4
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

    def artifact(self, version: str, project: Path = artifact.PROJECT) -> Path:
        """Of functions that all answer, and differ by a comment."""
        for name in artifact.BUILDS.findall((artifact.PROJECT / "template.yaml").read_text()):
            self.program(name)
            with (self.directory / "functions" / name / "bootstrap").open("a") as program:
                program.write(f"# {version}\n")
        out = self.directory / f"artifact-{version}"
        # These programs are scripts.
        with mock.patch.object(artifact.glibc, "too_new", return_value=[]):
            artifact.make(self.directory / "functions", out, "x86_64", version, COMMIT, project)
        return out

    def ship(self, directory: Path, agreed=lambda _: True, stack="ghl-sync", standing=None, **parameters) -> tuple[dict, str]:
        said = io.StringIO()
        with contextlib.redirect_stdout(said):
            outputs = ship.ship(self.aws, directory, stack, None, parameters, agreed, standing=standing)
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
        self.assertEqual(outputs["Release"], f"0.1.0 {COMMIT}")
        self.assertIn("HttpUrl", outputs)
        self.assertIn("add GateFunction (AWS::Lambda::Function)", said)
        before = self.code()
        self.assertEqual(len(before), 12)

        # Parameters that aren't given stay.
        outputs, said = self.ship(second, LogLevel="debug")
        self.assertEqual(outputs["Release"], f"0.2.0 {COMMIT}")
        self.assertTrue(all(code != before[name] for name, code in self.code().items()))
        stack = boto3.client("cloudformation").describe_stacks(StackName="ghl-sync")["Stacks"][0]
        has = {p["ParameterKey"]: p["ParameterValue"] for p in stack["Parameters"]}
        self.assertEqual((has["LocationId"], has["LogLevel"]), (PARAMETERS["LocationId"], "debug"))

        # Back, in one command.
        outputs, _ = self.ship(first)
        self.assertEqual(outputs["Release"], f"0.1.0 {COMMIT}")
        self.assertEqual(self.code(), before)

    def test_going_back_leaves_out_a_parameter_that_came_later(self):
        project = self.directory / "later"
        (project / "infra/supabase").mkdir(parents=True)
        (project / "infra/supabase/migrations").symlink_to(artifact.PROJECT / "infra/supabase/migrations")
        template = (artifact.PROJECT / "template.yaml").read_text()
        brought = "Parameters:\n  BroughtLater:\n    Type: String\n    Default: none\n"
        (project / "template.yaml").write_text(template.replace("Parameters:\n", brought, 1))
        first, second = self.artifact("0.1.0"), self.artifact("0.2.0", project)

        # The environment's, which stay when the release changes.
        standing = {**PARAMETERS, "BroughtLater": "wanted"}
        with self.assertRaisesRegex(ship.Stopped, "no parameter BroughtLater"):
            self.ship(first, standing=standing)
        _, said = self.ship(second, standing=standing)
        self.assertNotIn("leaving out", said)
        # Whoever types it means something by it.
        with self.assertRaisesRegex(ship.Stopped, "no parameter BroughtLater"):
            self.ship(first, standing=standing, BroughtLater="wanted")
        # Once more: the stack doesn't have it any longer.
        for _ in range(2):
            outputs, said = self.ship(first, standing=standing)
            self.assertIn("leaving out BroughtLater", said)
            self.assertEqual(outputs["Release"], f"0.1.0 {COMMIT}")

    def test_github_ships_its_own_commit_only(self):
        directory = self.artifact("0.1.0")
        with mock.patch.dict(os.environ, {"GITHUB_SHA": "f" * 40}):
            with self.assertRaisesRegex(ship.Stopped, f"built from {COMMIT}, and this is {'f' * 40}"):
                ship.ship(self.aws, directory, "ghl-sync", None, PARAMETERS, lambda _: True, artifact.PROJECT)
        self.assertIsNone(ship.described(self.aws, "ghl-sync"))
        with mock.patch.dict(os.environ, {"GITHUB_SHA": COMMIT}), contextlib.redirect_stdout(io.StringIO()):
            outputs = ship.ship(self.aws, directory, "ghl-sync", None, PARAMETERS, lambda _: True, artifact.PROJECT)
        self.assertEqual(outputs["Release"], f"0.1.0 {COMMIT}")

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


class OfOthers:
    """A bucket that anybody may write to, of this account. The local cloud doesn't ask whose a bucket is."""

    region = "eu-central-1"

    def __init__(self, owner: str, there: bool = True):
        self.owner, self.there = owner, there
        self.asked, self.unnamed = [], []

    def call(self, service: str, operation: str, body: Path | None = None, **request) -> dict:
        if operation == "get_caller_identity":
            return {"Account": "111111111111"}
        if request.get("ExpectedBucketOwner", self.owner) != self.owner:
            raise ship.Refused("403", "Forbidden")
        if operation == "head_bucket" and not self.there:
            raise ship.Refused("404", "Not Found")
        self.asked.append((operation, request["Bucket"]))
        if "ExpectedBucketOwner" not in request:
            self.unnamed.append(operation)
        return {}


class Buckets(unittest.TestCase):
    def upload(self, aws, bucket: str | None) -> None:
        with tempfile.TemporaryDirectory() as directory, contextlib.redirect_stdout(io.StringIO()):
            code = Path(directory) / "code.zip"
            code.write_bytes(b"code")
            there = ship.need_bucket(aws, bucket)
            ship.upload(aws, there, code)

    def test_nothing_is_uploaded_to_anothers_bucket(self):
        for bucket in (None, "given-by-hand"):
            aws = OfOthers("222222222222")
            with self.assertRaisesRegex(ship.Stopped, r"can't be used \(403\): is it another account's"):
                self.upload(aws, bucket)
            self.assertEqual(aws.asked, [])

    def test_each_request_names_the_owner(self):
        aws = OfOthers("111111111111")
        self.upload(aws, None)
        bucket = "ghl-sync-artifacts-111111111111-eu-central-1"
        self.assertEqual(aws.asked, [("head_bucket", bucket), ("put_object", bucket)])
        self.assertEqual(aws.unnamed, [])
        # One that is made has the name to itself, or isn't made.
        aws = OfOthers("111111111111", there=False)
        self.upload(aws, None)
        self.assertEqual([operation for operation, _ in aws.asked], ["create_bucket", "put_public_access_block", "put_object"])
        self.assertEqual(aws.unnamed, ["create_bucket"])


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

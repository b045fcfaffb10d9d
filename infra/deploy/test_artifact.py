"""What a release deploys is built once and stays what it is. Run by `cargo xtask test mends`."""

import json
import re
import tempfile
import unittest
from pathlib import Path

import artifact
from samtranslator.yaml_helper import yaml_parse
from test_glibc import FITS, program

COMMIT = "0123abcdef" * 4


def binaries(directory: Path, content: bytes = FITS) -> Path:
    """Programs for all functions of the template."""
    for name in artifact.BUILDS.findall((artifact.PROJECT / "template.yaml").read_text()):
        path = directory / name / "bootstrap"
        path.parent.mkdir(parents=True)
        path.write_bytes(content)
    return directory


class Artifact(unittest.TestCase):
    def setUp(self):
        directory = tempfile.TemporaryDirectory()
        self.addCleanup(directory.cleanup)
        self.directory = Path(directory.name)
        self.out = self.directory / "artifact"

    def make(self, out: str = "artifact", content: bytes = FITS) -> dict:
        programs = binaries(self.directory / f"{out}-binaries", content)
        return artifact.make(programs, self.directory / out, "arm64", "0.1.0", COMMIT)

    def test_it_holds_what_a_deployment_needs_and_nothing_of_an_account(self):
        manifest = self.make()
        self.assertEqual(artifact.verify(self.out, artifact.PROJECT), json.loads((self.out / "manifest.json").read_text()))
        self.assertEqual((manifest["version"], manifest["commit"], manifest["architecture"]), ("0.1.0", COMMIT, "arm64"))
        self.assertRegex(manifest["schema"], r"^2026\d{10}$")
        text = (self.out / "template.yaml").read_text()
        self.assertFalse(re.search(r"\d{12}|s3://|amazonaws\.com/", text))
        template = yaml_parse(text)
        functions = [r["Properties"] for r in template["Resources"].values() if r["Type"] == "AWS::Serverless::Function"]
        self.assertEqual(len(functions), 12)
        keys = {function["CodeUri"]["Key"]["Fn::Sub"] for function in functions}
        self.assertEqual(keys, {"${ArtifactPrefix}" + Path(f["file"]).name for f in manifest["functions"].values()})
        self.assertEqual({function["CodeUri"]["Bucket"]["Ref"] for function in functions}, {"ArtifactBucket"})
        self.assertNotIn("CodeUri", template["Globals"]["Function"])
        self.assertEqual(template["Outputs"]["Release"]["Value"], f"0.1.0 {COMMIT}")
        self.assertEqual(artifact.parameters_of(text), set(template["Parameters"]))

    def test_each_function_gets_its_own_code(self):
        programs = binaries(self.directory / "binaries")
        (programs / "gate/bootstrap").write_bytes(FITS + b"the gate's")
        manifest = artifact.make(programs, self.out, "x86_64", "0.1.0", COMMIT)
        resources = yaml_parse((self.out / "template.yaml").read_text())["Resources"]
        for logical in ("GateFunction", "WebhookFunction"):
            name = resources[logical]["Metadata"]["BuildProperties"]["Binary"]
            key = resources[logical]["Properties"]["CodeUri"]["Key"]["Fn::Sub"]
            self.assertEqual(key, "${ArtifactPrefix}" + Path(manifest["functions"][name]["file"]).name)
        self.assertNotEqual(manifest["functions"]["gate"]["sha256"], manifest["functions"]["webhook"]["sha256"])

    def test_the_same_programs_make_the_same_artifact(self):
        self.assertEqual(self.make("one"), self.make("two"))
        self.assertNotEqual(self.make("three", FITS + b"changed")["template"], self.make("four")["template"])

    def test_what_isnt_as_it_was_built_is_refused(self):
        def refused(change, words: str) -> None:
            out = self.directory / f"artifact-{words.split()[0]}"
            programs = binaries(self.directory / f"binaries-{words.split()[0]}")
            manifest = artifact.make(programs, out, "x86_64", "0.1.0", COMMIT)
            change(out, manifest)
            with self.assertRaisesRegex(artifact.Damaged, words):
                artifact.verify(out, artifact.PROJECT)

        code = lambda manifest: manifest["functions"]["gate"]["file"]  # noqa: E731
        refused(lambda out, m: (out / code(m)).write_bytes(b"another program"), "isn't what was built")
        refused(lambda out, m: (out / code(m)).unlink(), "missing or too many")
        refused(lambda out, m: (out / "functions/more.zip").touch(), "many")
        refused(lambda out, m: (out / "manifest.json").write_text("{"), "can't be read")

        def another_template(out: Path, manifest: dict) -> None:
            """As somebody would who also changes the checksum."""
            text = (out / "template.yaml").read_text().replace("MemorySize: 256", "MemorySize: 257")
            (out / "template.yaml").write_text(text)
            manifest["template"]["sha256"] = artifact.digest(text.encode())
            (out / "manifest.json").write_text(json.dumps(manifest))

        refused(another_template, "its template isn't that of this checkout")

    def test_a_manifest_brings_nothing_into_the_template(self):
        """Whoever broke into a build writes the manifest and what `packaged` makes of it: the checkout's template and more."""
        bucket = "\nResources:\n  Theirs:\n    Type: AWS::S3::Bucket"
        for at, (key, value) in enumerate([
            ("version", "1" + bucket), ("version", "0.1"), ("version", "0.1.0 # x"), ("version", ["0.1.0"]),
            ("commit", COMMIT + bucket), ("commit", "0123abc"), ("commit", COMMIT + "-more"),
            ("architecture", "arm64" + bucket), ("schema", "20260101000000\n"), ("schema", 20260101000000),
            ("file", "functions/gate-0123456789abcdef'}.zip"), ("file", "functions/../gate-0123456789abcdef.zip"),
            # Named as another content would be, whose place it would take in the bucket.
            ("file", "functions/gate-0123456789abcdef.zip"),
        ]):
            out = self.directory / f"artifact-{at}"
            manifest = artifact.make(binaries(self.directory / f"binaries-{at}"), out, "arm64", "0.1.0", COMMIT)
            if key == "file":
                gate = manifest["functions"]["gate"]
                # Where the name leads.
                (out / value).parent.mkdir(parents=True, exist_ok=True)
                (out / gate["file"]).rename(out / value)
                gate["file"] = value
            else:
                manifest[key] = value
            text = artifact.packaged((artifact.PROJECT / "template.yaml").read_text(), manifest)
            (out / "template.yaml").write_text(text)
            manifest["template"]["sha256"] = artifact.digest(text.encode())
            (out / "manifest.json").write_text(json.dumps(manifest))
            with self.assertRaisesRegex(artifact.Damaged, "no release has", msg=f"{key} {value!r}"):
                artifact.verify(out, artifact.PROJECT)
        # What was built of files that aren't committed says so.
        out = self.directory / "changed"
        artifact.make(binaries(self.directory / "changed-binaries"), out, "arm64", "0.1.0-rc.1", COMMIT + "-changed")
        artifact.verify(out, artifact.PROJECT)

    def test_programs_that_cant_start_or_are_missing_make_none(self):
        with self.assertRaisesRegex(artifact.Damaged, "webhook needs GLIBC_2.38"):
            self.make("new", program({"libc.so.6": ["GLIBC_2.38"]}))
        programs = binaries(self.directory / "binaries")
        (programs / "gate/bootstrap").unlink()
        with self.assertRaisesRegex(artifact.Damaged, "gate was not built"):
            artifact.make(programs, self.out, "x86_64", "0.1.0", COMMIT)


if __name__ == "__main__":
    unittest.main()

"""What linters say of the template as CloudFormation gets it: nothing that isn't explained. Run by `cargo xtask test sam`."""

import json
import os
import subprocess
import tempfile
import unittest
from pathlib import Path

import yaml

from test_template import TEMPLATE, transformed

EXPLAINED = TEMPLATE.parent / "infra/checkov.yaml"


class Transformed(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.template = transformed()
        cls.directory = tempfile.TemporaryDirectory()
        cls.addClassCleanup(cls.directory.cleanup)
        cls.path = Path(cls.directory.name) / "template.json"
        cls.path.write_text(json.dumps(cls.template))

    def test_cloudformation_would_take_it(self):
        lint = Path(os.environ["SAM"]).with_name("cfn-lint")
        said = subprocess.run([lint, "--regions", "us-east-1", "--template", self.path], capture_output=True, text=True)
        self.assertEqual(said.returncode, 0, said.stdout + said.stderr)

    def test_checkov_finds_what_is_explained_and_nothing_else(self):
        # Without a way to the internet: it would fetch descriptions of its rules.
        command = [os.environ["CHECKOV"], "--file", self.path, "--framework", "cloudformation", "--skip-download", "--quiet", "--output", "json"]
        said = subprocess.run(command, capture_output=True, text=True, cwd=self.directory.name)
        report = json.loads(said.stdout)
        self.assertEqual(report["summary"]["parsing_errors"], 0, said.stderr)
        self.assertGreater(report["summary"]["passed"], 100, "it has looked at the resources")
        found = {(finding["check_id"], finding["resource"].rpartition(".")[2]) for finding in report["results"]["failed_checks"]}
        explained = self.explained()
        self.assertEqual(found - explained, set(), "new: mend it, or say in infra/checkov.yaml why it stays")
        self.assertEqual(explained - found, set(), "gone: take it out of infra/checkov.yaml")

    def explained(self) -> set:
        explained = set()
        for check, entry in yaml.safe_load(EXPLAINED.read_text()).items():
            self.assertGreater(len(entry["reason"]), 20, check)
            of_types = [name for name, r in self.template["Resources"].items() if r["Type"] in entry.get("all", [])]
            explained |= {(check, name) for name in entry.get("resources", []) + of_types}
        return explained


if __name__ == "__main__":
    unittest.main()

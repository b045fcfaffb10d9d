"""Only what CI built of the pushed commit is deployed. Run by `cargo xtask test mends`."""

import json
import os
import subprocess
import sys
import tempfile
import unittest
from pathlib import Path

import origin

COMMIT = "0123abcdef" * 4
RUN = {"event": "push", "path": ".github/workflows/ci.yml", "head_sha": COMMIT, "head_branch": "v0.1.0"}


class Origin(unittest.TestCase):
    """The program `gh`, of which there is a stand-in here, tells of a run."""

    def told(self, run: dict | None, number: str = "42", commit: str = COMMIT) -> subprocess.CompletedProcess:
        temporary = tempfile.TemporaryDirectory()
        self.addCleanup(temporary.cleanup)
        directory = Path(temporary.name)
        (directory / "run").write_text(json.dumps(run))
        program = directory / "gh"
        answer = f"cat {directory / 'run'}" if run is not None else "echo 'Not Found (HTTP 404)' >&2; exit 1"
        program.write_text(f'#!/bin/sh\n[ "$*" = "api repos/ours/ghl-sync/actions/runs/42" ] || exit 9\n{answer}\n')
        program.chmod(0o755)
        environment = {"PATH": f"{directory}:{os.environ['PATH']}", "GITHUB_REPOSITORY": "ours/ghl-sync", "GITHUB_SHA": commit}
        command = [sys.executable, str(Path(origin.__file__)), number]
        return subprocess.run(command, capture_output=True, text=True, env=environment)

    def test_a_run_of_ci_for_this_commit_may_be_deployed(self):
        for run in (RUN, {**RUN, "path": RUN["path"] + "@refs/tags/v0.1.0"}):
            said = self.told(run)
            self.assertEqual((said.returncode, said.stderr), (0, ""))

    def test_another_run_may_not(self):
        for run, words in [
            ({**RUN, "event": "pull_request"}, "it ran for pull_request"),
            ({**RUN, "path": ".github/workflows/deploy.yml"}, "it is a run of .github/workflows/deploy.yml"),
            ({**RUN, "path": ".github/workflows/ci.yml.yml"}, "it is a run of"),
            ({**RUN, "head_sha": "f" * 40}, "it is of the commit ffff"),
            ({}, "it ran for None"),
            (None, "Not Found"),
        ]:
            said = self.told(run)
            self.assertEqual(said.returncode, 1, run)
            self.assertIn(words, said.stderr)
        for number in ("", "42/../43", "--help", "42 43"):
            self.assertIn("give the number", self.told(RUN, number).stderr, number)
        self.assertIn("this is none", self.told({**RUN, "head_sha": ""}, commit="").stderr)


if __name__ == "__main__":
    unittest.main()

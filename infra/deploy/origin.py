"""Whether what a run of GitHub's built may be deployed: the run must be CI's, for a push of this very commit. Asks by the program `gh`,
which GitHub's machines bring; runs nobody else's code.

    origin.py RUN
"""

import json
import os
import re
import subprocess
import sys

BUILDS = ".github/workflows/ci.yml"


def wrong_with(run: dict, commit: str) -> list[str]:
    """What speaks against an artifact of this run, in words."""
    wrong = []
    if run.get("event") != "push":
        # A pull request's run builds what anybody proposes.
        wrong.append(f"it ran for {run.get('event')}, and releases are pushed")
    # GitHub may add the branch, after an @.
    if str(run.get("path")).partition("@")[0] != BUILDS:
        wrong.append(f"it is a run of {run.get('path')}, and {BUILDS} builds releases")
    if not commit or run.get("head_sha") != commit:
        wrong.append(f"it is of the commit {run.get('head_sha')}, and this is {commit or 'none'}: choose the release's tag")
    return wrong


def main(arguments: list[str]) -> None:
    number = arguments[0] if len(arguments) == 1 else ""
    if not re.fullmatch(r"\d+", number, re.ASCII):
        sys.exit("error: give the number of the run that built the release; it stands in the run's address")
    ask = ["gh", "api", f"repos/{os.environ['GITHUB_REPOSITORY']}/actions/runs/{number}"]
    said = subprocess.run(ask, capture_output=True, text=True)
    if said.returncode != 0:
        sys.exit(f"error: GitHub doesn't tell of the run {number}: {said.stderr.strip()[-500:]}")
    wrong = wrong_with(json.loads(said.stdout), os.environ.get("GITHUB_SHA", ""))
    if wrong:
        sys.exit(f"error: nothing of the run {number} is deployed:\n  " + "\n  ".join(wrong))
    print(f"Run {number} is CI's, for this commit.")


if __name__ == "__main__":
    main(sys.argv[1:])

"""What GitHub's workflows may do. Run by `cargo xtask test mends`.

Whoever gets code into a build, by a dependency or a tool, must not get the right to deploy with it: the job that has it runs nothing of
that. And what is deployed to production is what was deployed to staging.
"""

import re
import unittest

import artifact
import yaml

WORKFLOWS = artifact.PROJECT / ".github/workflows"
# The only ones that a job with the right to deploy may use: none of them runs what the repository or the build brings.
TRUSTED = {"actions/checkout", "actions/download-artifact", "aws-actions/configure-aws-credentials"}
SHIPS = "python3 infra/deploy/ship.py "


def workflows() -> dict[str, dict]:
    return {path.name: yaml.safe_load(path.read_text()) for path in sorted(WORKFLOWS.glob("*.yml"))}


def jobs():
    """All jobs: a name for messages, the job, its workflow."""
    for file, workflow in workflows().items():
        for name, job in workflow["jobs"].items():
            yield f"{file}, {name}", job, workflow


def permissions_of(job: dict, workflow: dict) -> dict:
    """What its token may do. Without any word GitHub would give more."""
    return job.get("permissions", workflow["permissions"])


def wrong_with(job: dict, permissions: dict) -> list[str]:
    """What a job may not do, in words."""
    wrong = []
    steps = job.get("steps", [])
    if permissions.get("id-token") == "write":
        for step in steps:
            if "uses" in step and step["uses"].partition("@")[0] not in TRUSTED:
                wrong.append(f"may deploy and uses {step['uses']}")
            if "run" in step and (not step["run"].startswith(SHIPS) or re.search(r"[;&|`\n]|\$\(", step["run"].strip())):
                wrong.append(f"may deploy and runs {step['run']}")
            if "--this-checkout" not in step.get("run", "--this-checkout"):
                wrong.append("ships a template that nobody has compared")
    elif not set(permissions.items()) <= {("contents", "read")}:
        wrong.append(f"may do more than read: {permissions}")
    for step in steps:
        if step.get("uses", "").startswith("actions/checkout@") and step.get("with", {}).get("persist-credentials") is not False:
            wrong.append("leaves the repository's token behind")
        if "${{" in step.get("run", ""):
            wrong.append(f"puts a value into a script, where it could be code: {step['run']}")
    uses = [step["uses"] for step in steps if "uses" in step] + ([job["uses"]] if "uses" in job else [])
    wrong += [f"isn't pinned by its commit: {use}" for use in uses if not re.fullmatch(r"[\w/.-]+@[0-9a-f]{40}|\./\S+\.yml", use)]
    return wrong


class Workflows(unittest.TestCase):
    def test_no_job_may_do_more_than_it_needs(self):
        seen = 0
        for name, job, workflow in jobs():
            self.assertEqual(wrong_with(job, permissions_of(job, workflow)), [], name)
            seen += 1
        self.assertGreaterEqual(seen, 8)

    def test_what_would_be_wrong_is_found(self):
        shipping = {"id-token": "write", "contents": "read"}
        checkout = {"uses": "actions/checkout@" + "0" * 40, "with": {"persist-credentials": False}}
        ship = {"run": SHIPS + "--this-checkout --yes"}
        self.assertEqual(wrong_with({"steps": [checkout, ship]}, shipping), [])
        for job, permissions in [
            ({"steps": [{"run": "cargo xtask setup"}]}, shipping),
            ({"steps": [{"run": SHIPS + "--this-checkout; cargo build"}]}, shipping),
            ({"steps": [{"run": SHIPS + "--this-checkout\nnpm ci"}]}, shipping),
            ({"steps": [{"run": SHIPS + "--yes"}]}, shipping),
            ({"steps": [{"uses": "actions/setup-node@" + "0" * 40}]}, shipping),
            ({"steps": [{"run": "cargo test"}]}, {"contents": "write"}),
            ({"steps": [{"uses": "actions/checkout@" + "0" * 40}]}, {"contents": "read"}),
            ({"steps": [{"uses": "actions/cache@v4"}]}, {"contents": "read"}),
            ({"steps": [{"run": "echo ${{ github.event.head_commit.message }}"}]}, {"contents": "read"}),
        ]:
            self.assertNotEqual(wrong_with(job, permissions), [], job)

    def test_production_gets_what_staging_got_and_only_then(self):
        ci, deploy = workflows()["ci.yml"]["jobs"], workflows()["deploy.yml"]["jobs"]
        (upload,) = [step["with"] for step in ci["package"]["steps"] if step.get("uses", "").startswith("actions/upload-artifact@")]
        (download,) = [step["with"] for step in deploy["deploy"]["steps"] if step.get("uses", "").startswith("actions/download-artifact@")]
        self.assertEqual(upload["name"], download["name"])
        self.assertEqual(set(ci["staging"]["needs"]), {"test", "dependencies", "package"})
        self.assertEqual(ci["production"]["needs"], "staging")
        environments = {name: ci[name]["with"]["environment"] for name in ("staging", "production")}
        self.assertEqual(environments, {"staging": "staging", "production": "production"})
        self.assertEqual({ci[name]["uses"] for name in environments}, {"./.github/workflows/deploy.yml"})
        builds = [name for name, job in {**ci, **deploy}.items() if "xtask package" in str(job)]
        self.assertEqual(builds, ["package"], "built once")

    def test_a_deployment_waits_for_its_tables_and_is_looked_at(self):
        jobs = workflows()["deploy.yml"]["jobs"]
        self.assertIn("cargo xtask migrate --dry-run", str(jobs["schema"]["steps"]))
        self.assertEqual((jobs["deploy"]["needs"], jobs["check"]["needs"]), ("schema", "deploy"))
        self.assertIn("cargo xtask check --url", str(jobs["check"]["steps"]))
        # Only what is done by hand, which is going back, goes past the tables.
        self.assertEqual(jobs["schema"]["if"], "github.event_name != 'workflow_dispatch'")

    def test_secrets_are_given_to_single_steps(self):
        for name, job, workflow in jobs():
            whole = {key: value for key, value in job.items() if key != "steps"}
            self.assertNotIn("secrets.", str([whole, workflow.get("env")]), name)

    def test_the_build_of_releases_is_tried_every_week(self):
        ci = workflows()["ci.yml"]
        # YAML 1.1 takes `on` for true.
        self.assertIn("schedule", ci[True])
        self.assertIn("schedule", ci["jobs"]["package"]["if"])


if __name__ == "__main__":
    unittest.main()

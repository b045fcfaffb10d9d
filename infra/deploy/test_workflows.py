"""What GitHub's workflows may do, and that they mean what they name. Run by `cargo xtask test mends`.

Whoever gets code into a build, by a dependency or a tool, must not get the right to deploy with it: the job that has it runs nothing of
that. And what is deployed to production is what was deployed to staging. GitHub takes a name that isn't defined for an empty text, in
silence, and tells of a broken expression only when a tag is pushed: so both are looked for here.
"""

import re
import unittest

import artifact
import yaml

WORKFLOWS = artifact.PROJECT / ".github/workflows"
# The only ones that a job with the right to deploy may use: none of them runs what the repository or the build brings.
TRUSTED = {"actions/checkout", "actions/download-artifact", "aws-actions/configure-aws-credentials"}
SHIPS = "python3 infra/deploy/ship.py "
# Asks GitHub whose run built what is to be shipped.
LOOKS = 'python3 infra/deploy/origin.py "$RUN"'
MAY_SHIP = {("id-token", "write"), ("contents", "read"), ("actions", "read")}
LONGEST_MINUTES = 90
OF_GITHUB = {"event_name", "ref", "run_id", "token", "workflow"}
FUNCTIONS = {"cancelled", "failure", "startsWith"}
REFERENCE = r"[A-Za-z_][\w-]*(?:[.][\w-]+)*"


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
        wrong += [f"may deploy and also {more}" for more in set(permissions.items()) - MAY_SHIP]
        for step in steps:
            if "uses" in step and step["uses"].partition("@")[0] not in TRUSTED:
                wrong.append(f"may deploy and uses {step['uses']}")
            if "run" in step and step["run"] != LOOKS and (not step["run"].startswith(SHIPS) or re.search(r"[;&|`\n]|\$\(", step["run"].strip())):
                wrong.append(f"may deploy and runs {step['run']}")
            if step.get("run", "").startswith(SHIPS) and "--this-checkout" not in step["run"]:
                wrong.append("ships a template that nobody has compared")
        downloads = [at for at, step in enumerate(steps) if step.get("uses", "").startswith("actions/download-artifact@")]
        looks = [at for at, step in enumerate(steps) if step.get("run") == LOOKS and looked_at(step) == downloaded(steps, downloads)]
        if downloads and not (looks and looks[0] < downloads[0]):
            wrong.append("ships what any run may have built")
    elif not set(permissions.items()) <= {("contents", "read")}:
        wrong.append(f"may do more than read: {permissions}")
    for step in steps:
        if step.get("uses", "").startswith("actions/checkout@") and step.get("with", {}).get("persist-credentials") is not False:
            wrong.append("leaves the repository's token behind")
        if "${{" in step.get("run", ""):
            wrong.append(f"puts a value into a script, where it could be code: {step['run']}")
    uses = [step["uses"] for step in steps if "uses" in step] + ([job["uses"]] if "uses" in job else [])
    wrong += [f"isn't pinned by its commit: {use}" for use in uses if not re.fullmatch(r"[\w/.-]+@[0-9a-f]{40}|\./\S+\.yml", use)]
    if "uses" not in job and job.get("timeout-minutes", 360) > LONGEST_MINUTES:
        wrong.append("may hang for hours")
    return wrong


def looked_at(step: dict) -> list:
    return [step.get("env", {}).get("RUN")]


def downloaded(steps: list, at: list) -> list:
    """Which runs' artifacts."""
    return [steps[number].get("with", {}).get("run-id") for number in at]


def listed(value) -> list:
    return value if isinstance(value, list) else [value]


def triggers(workflow: dict) -> dict:
    # YAML 1.1 takes `on` for true.
    return workflow[True]


def inputs_of(workflow: dict) -> dict:
    of_triggers = [trigger.get("inputs", {}) for trigger in triggers(workflow).values() if isinstance(trigger, dict)]
    return {name: given for inputs in of_triggers for name, given in inputs.items()}


def expressions(part, key: str = ""):
    """All of a part of a workflow: what stands in `${{ }}`, and a condition without them."""
    if isinstance(part, dict):
        for name, value in part.items():
            yield from expressions(value, str(name))
    elif isinstance(part, list):
        for value in part:
            yield from expressions(value)
    elif isinstance(part, str):
        found = re.findall(r"\$\{\{(.*?)\}\}", part, re.DOTALL)
        yield from found or ([part] if key == "if" else [])


def undefined(expression: str, job: dict, workflow: dict) -> list[str]:
    """What an expression names that there isn't, and what of it is none."""
    bare = re.sub(r"'[^']*'", " ", expression)
    # What people set up by hand, the page says.
    by_hand = (artifact.PROJECT / "infra/docs/deploying.md").read_text()
    wrong = []
    for reference in re.findall(REFERENCE, bare):
        match reference.split("."):
            case ["true" | "false"]:
                defined = True
            case [function]:
                defined = function in FUNCTIONS
            case ["github", name]:
                defined = name in OF_GITHUB
            case ["inputs", name]:
                defined = name in inputs_of(workflow)
            case ["vars" | "secrets", name]:
                defined = f"`{name}`" in by_hand
            case ["needs", name, "result"]:
                defined = name in listed(job.get("needs", []))
            case ["needs", name, "outputs", output]:
                defined = name in listed(job.get("needs", [])) and output in workflow["jobs"][name].get("outputs", {})
            case ["steps", name, "outputs", _]:
                defined = name in [step.get("id") for step in job.get("steps", [])]
            case _:
                defined = False
        if not defined:
            wrong.append(reference)
    operators = re.sub(REFERENCE, " ", bare)
    if not re.fullmatch(r"(&&|\|\||==|!=|[!(),\s])*", operators) or operators.count("(") != operators.count(")"):
        wrong.append(f"broken: {expression}")
    return wrong


def holds(condition: str, **results: str) -> bool:
    """A condition of a job in a workflow that nobody has cancelled, after these results of the jobs that it needs."""
    text = re.sub(r"^\$\{\{|\}\}$", "", condition)
    for job, result in results.items():
        text = text.replace(f"needs.{job}.result", repr(result))
    text = text.replace("!cancelled()", "True").replace("&&", " and ").replace("||", " or ")
    return eval(text.strip(), {"__builtins__": {}})  # noqa: S307


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
        self.assertEqual(wrong_with({"steps": [checkout, ship], "timeout-minutes": 20}, shipping), [])
        look = {"run": LOOKS, "env": {"RUN": "${{ inputs.run }}"}}
        download = {"uses": "actions/download-artifact@" + "0" * 40, "with": {"run-id": "${{ inputs.run }}"}}
        self.assertEqual(wrong_with({"steps": [checkout, look, download, ship], "timeout-minutes": 20}, shipping), [])
        for job, permissions in [
            ({"steps": [checkout, download, ship]}, shipping),
            ({"steps": [checkout, download, look, ship]}, shipping),
            ({"steps": [checkout, {**look, "env": {"RUN": "${{ github.run_id }}"}}, download, ship]}, shipping),
            ({"steps": [{"run": LOOKS + " || true"}]}, shipping),
            ({"steps": [{"run": "cargo xtask setup"}]}, shipping),
            ({"steps": [{"run": SHIPS + "--this-checkout; cargo build"}]}, shipping),
            ({"steps": [{"run": SHIPS + "--this-checkout\nnpm ci"}]}, shipping),
            ({"steps": [{"run": SHIPS + "--yes"}]}, shipping),
            ({"steps": [{"uses": "actions/setup-node@" + "0" * 40}]}, shipping),
            ({"steps": [{"run": "cargo test"}]}, {"contents": "write"}),
            ({"steps": [{"uses": "actions/checkout@" + "0" * 40}]}, {"contents": "read"}),
            ({"steps": [{"uses": "actions/cache@v4"}]}, {"contents": "read"}),
            ({"steps": [{"run": "echo ${{ github.event.head_commit.message }}"}]}, {"contents": "read"}),
            ({"steps": [checkout, ship]}, {**shipping, "contents": "write"}),
            ({"steps": [{"run": "cargo test"}], "timeout-minutes": 360}, {"contents": "read"}),
        ]:
            job = {"timeout-minutes": 20, **job}
            self.assertNotEqual(wrong_with(job, permissions), [], job)

    def test_nothing_is_allowed_to_all_jobs_but_to_read(self):
        for file, workflow in workflows().items():
            self.assertIn(workflow["permissions"], [{}, {"contents": "read"}], file)

    def test_each_pin_says_its_version_and_each_action_has_one(self):
        versions = {}
        for path in WORKFLOWS.glob("*.yml"):
            for use in re.findall(r"uses: ([^.].*)", path.read_text()):
                pinned = re.fullmatch(r"([\w/.-]+)@([0-9a-f]{40}) # (v\d+[.]\d+[.]\d+)", use)
                self.assertTrue(pinned, use)
                versions.setdefault(pinned[1], set()).add(pinned.groups()[1:])
        self.assertEqual({action: len(pins) for action, pins in versions.items()}, dict.fromkeys(versions, 1))

    def test_what_expressions_name_is_defined(self):
        seen = 0
        for name, job, workflow in jobs():
            for expression in expressions(job):
                self.assertEqual(undefined(expression, job, workflow), [], f"{name}: {expression}")
                seen += 1
        for file, workflow in workflows().items():
            for expression in expressions({key: part for key, part in workflow.items() if key != "jobs"}):
                self.assertEqual(undefined(expression, {}, workflow), [], f"{file}: {expression}")
        self.assertGreater(seen, 20)

    def test_what_isnt_defined_is_found(self):
        job = {"needs": "build", "steps": [{"id": "ship"}]}
        workflow = {True: {"workflow_call": {"inputs": {"stack": {}}}, "push": None}, "jobs": {"build": {"outputs": {"url": "x"}}}}
        for right in ["inputs.stack", "needs.build.outputs.url", "needs.build.result == 'success' && !cancelled()", "steps.ship.outputs.a",
                      "vars.STACK || 'x'", "secrets.DATABASE_URL", "!startsWith(github.ref, 'refs/tags/')"]:
            self.assertEqual(undefined(right, job, workflow), [], right)
        for wrong in ["inputs.stak", "needs.built.result", "needs.build.outputs.uri", "steps.shop.outputs.a", "vars.STAGE", "secrets.NOBODYS",
                      "github.reff", "succeeded()", "needs.build.result == success'", "(inputs.stack", "inputs.stack & inputs.stack"]:
            self.assertNotEqual(undefined(wrong, job, workflow), [], wrong)

    def test_who_calls_a_workflow_gives_it_what_it_takes(self):
        seen = 0
        for name, job, _ in jobs():
            if not job.get("uses", "").startswith("./"):
                continue
            called = workflows()[job["uses"].rpartition("/")[2]]
            takes = triggers(called)["workflow_call"]["inputs"]
            given = job.get("with", {})
            self.assertLessEqual(set(given), set(takes), name)
            self.assertLessEqual({need for need, properties in takes.items() if properties.get("required")}, set(given), name)
            # GitHub refuses a called job that may do more than its caller.
            for inner in called["jobs"].values():
                self.assertLessEqual(set(permissions_of(inner, called).items()), set(job["permissions"].items()), name)
            seen += 1
        self.assertEqual(seen, 2)

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
        results = ("success", "skipped", "failure", "cancelled")
        self.assertEqual([result for result in results if holds(jobs["deploy"]["if"], schema=result)], ["success", "skipped"])
        self.assertEqual([result for result in results if holds(jobs["check"]["if"], deploy=result)], ["success"])

    def test_nothing_breaks_a_deployment_off_and_only_deployments_wait_for_each_other(self):
        deploy = workflows()["deploy.yml"]
        # A release that waits for its tables or its check must not hold up who wants to go back.
        self.assertEqual(
            {name: job["concurrency"] for name, job in [("all", deploy), *deploy["jobs"].items()] if "concurrency" in job},
            {"deploy": {"group": "deploy-${{ inputs.environment }}", "cancel-in-progress": False}},
        )
        self.assertEqual(workflows()["ci.yml"]["concurrency"]["cancel-in-progress"], "${{ !startsWith(github.ref, 'refs/tags/') }}")

    def test_a_release_asks_for_one_review(self):
        by_job = {name: job["environment"] for name, job in workflows()["deploy.yml"]["jobs"].items()}
        checks = "${{ inputs.environment }}-checks"
        self.assertEqual(by_job, {"schema": checks, "deploy": "${{ inputs.environment }}", "check": checks})
        by_hand = (artifact.PROJECT / "infra/docs/deploying.md").read_text()
        options = triggers(workflows()["deploy.yml"])["workflow_dispatch"]["inputs"]["environment"]["options"]
        for name in [*options, *(f"{option}-checks" for option in options)]:
            self.assertIn(f"`{name}`", by_hand)

    def test_secrets_are_given_to_single_steps(self):
        for name, job, workflow in jobs():
            whole = {key: value for key, value in job.items() if key != "steps"}
            self.assertNotIn("secrets.", str([whole, workflow.get("env")]), name)

    def test_the_build_of_releases_is_tried_every_week(self):
        ci = workflows()["ci.yml"]
        self.assertIn("schedule", triggers(ci))
        self.assertIn("schedule", ci["jobs"]["package"]["if"])


if __name__ == "__main__":
    unittest.main()

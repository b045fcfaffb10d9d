"""Prepares what `sam build` made for `sam local`: the same settings as the functions that run in the local cloud.

Reads one JSON object from standard input, prints nothing:

    in   {"endpoint", "stack", "built", "template", "env_vars", "container_host"}

`env_vars` is the file for `--env-vars`. Each function gets the variables of its deployed twin, but for three things: an
address of this machine is called `container_host`, which is what containers call it; secrets are given by value;
and `AWS_ENDPOINT_URL` names the local cloud. `sam local` passes on only variables that the template names, so `template` is the
`built` one with all of them named. The template in the repository stays as AWS wants it. `deploy` is the local cloud's (PYTHONPATH: `infra/local/cloud`).
"""

import json
import os
import sys
from pathlib import Path

from ministack.services.cloudformation.engine import _parse_template

from deploy import Cloud, functions_of

PARAMETER = "_PARAMETER"
# What browsers call or are called, and not the functions: for them this machine keeps its name.
FOR_BROWSERS = {"ALLOWED_ORIGINS", "SUPABASE_JWT_ISSUER", "WEBSOCKET_URL"}
PAGE = "DashboardFunction"


def main() -> None:
    request = json.load(sys.stdin)
    cloud = Cloud(request["endpoint"])
    template = _parse_template(Path(request["built"]).read_text())
    deployed = cloud.describe(request["stack"])["functions"]

    variables = {}
    for name, function in functions_of(template).items():
        configuration = cloud.functions.get_function_configuration(FunctionName=deployed[name])
        variables[name] = in_container(name, configuration["Environment"]["Variables"], cloud, request)
        declare(function, variables[name])

    write_privately(Path(request["env_vars"]), json.dumps(variables, indent=2))
    # JSON is YAML.
    Path(request["template"]).write_text(json.dumps(template, indent=2))


def in_container(function: str, deployed: dict, cloud: Cloud, request: dict) -> dict:
    """A function's variables in a container."""
    variables = {**deployed, "AWS_ENDPOINT_URL": request["endpoint"]}
    if "SUPABASE_JWT_SECRET_PARAMETER" in deployed:
        # Tokens are issued under the name that browsers know.
        variables["SUPABASE_JWT_ISSUER"] = deployed["SUPABASE_URL"] + "/auth/v1"
    for name, value in variables.items():
        if name not in FOR_BROWSERS and (function, name) != (PAGE, "SUPABASE_URL"):
            variables[name] = value.replace("//127.0.0.1:", f"//{request['container_host']}:")
    for name in [name for name in variables if name.endswith(PARAMETER)]:
        if variables[name]:
            secret = cloud.ssm.get_parameter(Name=variables[name], WithDecryption=True)
            variables[name.removesuffix(PARAMETER)] = secret["Parameter"]["Value"]
        # The parameter's name would win over the value.
        variables[name] = ""
    return dict(sorted(variables.items()))


def declare(function: dict, variables: dict) -> None:
    """Names the variables in the template; their values stand in `env_vars` only."""
    environment = function["Properties"].setdefault("Environment", {}).setdefault("Variables", {})
    for name in variables:
        environment.setdefault(name, "")


def write_privately(path: Path, text: str) -> None:
    """The file holds keys: only its owner may read it."""
    path.unlink(missing_ok=True)
    with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as file:
        file.write(text + "\n")


if __name__ == "__main__":
    main()

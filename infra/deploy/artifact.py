"""What a release deploys, built once and the same wherever it goes: a directory, or rather

    manifest.json         version, commit, architecture, newest migration; the SHA-256 of everything else
    template.yaml         `template.yaml` of that commit, whose functions take their code from a bucket that a parameter names
    functions/<...>.zip   the functions, each named after its content

Nothing in it belongs to an account. Only Python's own library is used: what ships it runs nobody else's code.

    artifact.py make --binaries DIR --out DIR --architecture x86_64 --version 0.1.0 --commit <40 digits>
    artifact.py verify DIR
"""

import argparse
import hashlib
import io
import json
import re
import sys
import zipfile
from pathlib import Path

import glibc

PROJECT = Path(__file__).resolve().parents[2]
BUCKET, PREFIX = "ArtifactBucket", "ArtifactPrefix"
# Stands in `Globals`: `sam build` builds all functions from one workspace.
BUILT_HERE = "    CodeUri: ."
BUILDS = re.compile(r"      BuildProperties: \{Binary: ([a-z-]+)\}")
# What stands in the template and in names must be no more than that: a manifest is written by whoever built.
FORMS = {
    "version": r"\d+\.\d+\.\d+[\w.-]*",
    # Of a checkout with changes, `-changed`.
    "commit": r"[0-9a-f]{40}(-changed)?",
    "architecture": "x86_64|arm64",
    "schema": r"\d{14}",
}
PARAMETERS = f"""\
  {BUCKET}:
    Type: String
    Description: The bucket that holds the functions' code.
  {PREFIX}:
    Type: String
    Description: What the names of the code begin with in the bucket.
    Default: ''
"""


class Damaged(Exception):
    """An artifact isn't what was built, or can't be built. Says so in a sentence."""


def make(binaries: Path, out: Path, architecture: str, version: str, commit: str, project: Path = PROJECT) -> dict:
    """Writes the artifact of these programs, `<function>/bootstrap`, and returns its manifest."""
    refused = glibc.too_new(binaries)
    if refused:
        raise Damaged("these programs won't start on AWS:\n  " + "\n  ".join(refused))
    template = (project / "template.yaml").read_text()
    functions = {}
    if out.exists() and any(out.iterdir()):
        raise Damaged(f"{out} isn't empty")
    (out / "functions").mkdir(parents=True)
    for name in BUILDS.findall(template):
        program = binaries / name / "bootstrap"
        if not program.is_file():
            raise Damaged(f"{program} is missing: the function {name} was not built")
        code = zipped(program.read_bytes())
        file = f"functions/{name}-{digest(code)[:16]}.zip"
        (out / file).write_bytes(code)
        functions[name] = {"file": file, "sha256": digest(code)}
    manifest = {
        "version": version,
        "commit": commit,
        "architecture": architecture,
        "schema": newest_migration(project),
        "functions": functions,
    }
    text = packaged(template, manifest)
    (out / "template.yaml").write_text(text)
    manifest["template"] = {"file": "template.yaml", "sha256": digest(text.encode())}
    (out / "manifest.json").write_text(json.dumps(manifest, indent=2) + "\n")
    return manifest


def verify(directory: Path, project: Path | None = None) -> dict:
    """The manifest, if all that it names is there as it was built, and nothing else; with `project`, if the template is that checkout's."""
    try:
        manifest = json.loads((directory / "manifest.json").read_text())
        parts = [manifest["template"], *manifest["functions"].values()]
        named = {part["file"]: part["sha256"] for part in parts}
        missing = FORMS.keys() - manifest.keys()
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise Damaged(f"{directory} holds no artifact: manifest.json can't be read ({type(error).__name__})") from error
    if missing:
        raise Damaged(f"manifest.json has no {', '.join(sorted(missing))}")
    written = [(name, manifest[name], form) for name, form in FORMS.items()]
    for function in manifest["functions"].values():
        written.append(("file", function["file"], rf"functions/[a-z-]+-{re.escape(str(function['sha256'])[:16])}\.zip"))
    written.append(("template", manifest["template"]["file"], r"template\.yaml"))
    for name, value, form in written:
        if not isinstance(value, str) or not re.fullmatch(form, value, re.ASCII):
            raise Damaged(f"manifest.json has a {name} that no release has")
    there = {str(path.relative_to(directory)) for path in directory.rglob("*") if not path.is_dir()}
    if there != {*named, "manifest.json"}:
        raise Damaged(f"missing or too many: {', '.join(sorted(there ^ {*named, 'manifest.json'}))}")
    for file, expected in named.items():
        if digest((directory / file).read_bytes()) != expected:
            raise Damaged(f"{file} isn't what was built: its checksum differs")
    if project and (directory / "template.yaml").read_text() != packaged((project / "template.yaml").read_text(), manifest):
        raise Damaged(f"its template isn't that of this checkout: check out {manifest['commit']}")
    return manifest


def packaged(template: str, manifest: dict) -> str:
    """The template with each function's code by its name in a bucket, and with an output that says which release stands."""
    lines, waiting, replaced = [], None, set()
    for line in template.splitlines():
        if line == BUILT_HERE:
            continue
        lines.append(line)
        if builds := BUILDS.fullmatch(line):
            waiting = builds[1]
        elif line == "    Properties:" and waiting:
            name = Path(manifest["functions"][waiting]["file"]).name
            lines.append(f"      CodeUri: {{Bucket: !Ref {BUCKET}, Key: !Sub '${{{PREFIX}}}{name}'}}")
            replaced.add(waiting)
            waiting = None
        elif line == "Parameters:":
            lines += PARAMETERS.splitlines()
        elif line == "Outputs:":
            release = f"{manifest['version']} {manifest['commit']}"
            lines += ["  Release:", "    Description: Version and commit of what is deployed.", f"    Value: {release}"]
    functions = template.count("    Type: AWS::Serverless::Function\n")
    if replaced != manifest["functions"].keys() or len(replaced) != functions or template.count(BUILT_HERE + "\n") != 1:
        raise Damaged("template.yaml has another form than artifact.py reads")
    return "\n".join(lines) + "\n"


def parameters_of(template: str) -> set[str]:
    """The names of a template's parameters."""
    _, _, rest = template.partition("\nParameters:\n")
    section = re.split(r"^\S", rest, maxsplit=1, flags=re.MULTILINE)[0]
    return set(re.findall(r"^  (\w+):$", section, flags=re.MULTILINE))


def zipped(program: bytes) -> bytes:
    """Always the same bytes for the same program."""
    archive = io.BytesIO()
    with zipfile.ZipFile(archive, "w", zipfile.ZIP_DEFLATED, compresslevel=9) as bundle:
        entry = zipfile.ZipInfo("bootstrap", (1980, 1, 1, 0, 0, 0))
        entry.create_system, entry.external_attr, entry.compress_type = 3, 0o755 << 16, zipfile.ZIP_DEFLATED
        bundle.writestr(entry, program)
    return archive.getvalue()


def newest_migration(project: Path) -> str:
    return max(path.name.partition("_")[0] for path in (project / "infra/supabase/migrations").glob("*.sql"))


def digest(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


def main() -> None:
    parser = argparse.ArgumentParser(description="Makes or verifies the artifact of a release.")
    commands = parser.add_subparsers(dest="command", required=True)
    making = commands.add_parser("make")
    making.add_argument("--binaries", type=Path, required=True)
    making.add_argument("--out", type=Path, required=True)
    making.add_argument("--architecture", choices=["x86_64", "arm64"], required=True)
    making.add_argument("--version", required=True)
    making.add_argument("--commit", required=True)
    verifying = commands.add_parser("verify")
    verifying.add_argument("artifact", type=Path)
    given = parser.parse_args()
    try:
        if given.command == "make":
            manifest = make(given.binaries, given.out, given.architecture, given.version, given.commit)
        else:
            manifest = verify(given.artifact)
    except Damaged as damaged:
        sys.exit(f"error: {damaged}")
    print(f"{manifest['version']} {manifest['commit']} for {manifest['architecture']}: {len(manifest['functions'])} functions")


if __name__ == "__main__":
    main()

"""A stand-in for the image on which `sam local` runs our functions, where no registry is reached.

Reads nothing, prints nothing: `base_image.py TAG BINARY` makes the image TAG from what this machine has. It holds the
shared libraries that BINARY (one of the functions) is linked with, the certificates, and a static busybox for the
shell, `mv` and `chmod` of SAM's Dockerfile. AWS's own image has the same glibc interface and much besides.
"""

import io
import re
import shutil
import subprocess
import sys
import tarfile
from pathlib import Path

CERTIFICATES = "/etc/ssl/certs/ca-certificates.crt"
# What SAM's Dockerfile calls, and what helps in a shell of a container.
APPLETS = ("sh", "mv", "chmod", "cp", "mkdir", "ls", "cat", "env")
DIRECTORIES = ("tmp", "proc", "sys", "dev", "opt", "var/task", "var/runtime")
FILES = {
    "etc/passwd": "root:x:0:0:root:/root:/bin/sh\n",
    "etc/group": "root:x:0:\n",
    "etc/nsswitch.conf": "hosts: files dns\n",
}
SETTINGS = (
    "ENV PATH=/usr/local/bin:/usr/bin:/bin",
    "ENV LAMBDA_TASK_ROOT=/var/task",
    "ENV LAMBDA_RUNTIME_DIR=/var/runtime",
    f"ENV SSL_CERT_FILE={CERTIFICATES}",
    "WORKDIR /var/task",
)


def main() -> None:
    tag, binary = sys.argv[1:]
    archive = io.BytesIO()
    with tarfile.open(fileobj=archive, mode="w") as image:
        fill(image, binary)
    changes = [word for setting in SETTINGS for word in ("--change", setting)]
    subprocess.run(["docker", "import", *changes, "-", tag], input=archive.getvalue(), stdout=subprocess.PIPE, check=True)


def fill(image: tarfile.TarFile, binary: str) -> None:
    for name in DIRECTORIES:
        add(image, name, kind=tarfile.DIRTYPE, mode=0o1777 if name == "tmp" else 0o755)
    for name, content in FILES.items():
        add(image, name, content.encode())
    add(image, "bin/busybox", busybox().read_bytes(), mode=0o755)
    for applet in APPLETS:
        add(image, f"bin/{applet}", kind=tarfile.SYMTYPE, target="busybox")
    for library in libraries(binary):
        add(image, library, Path(library).read_bytes(), mode=0o755)
    if Path(CERTIFICATES).is_file():
        add(image, CERTIFICATES, Path(CERTIFICATES).read_bytes())


def add(image: tarfile.TarFile, name: str, content: bytes = b"", mode=0o644, kind=tarfile.REGTYPE, target="") -> None:
    entry = tarfile.TarInfo(name.lstrip("/"))
    entry.size, entry.mode, entry.type, entry.linkname = len(content), mode, kind, target
    image.addfile(entry, io.BytesIO(content))


def busybox() -> Path:
    """A busybox that needs no libraries."""
    found = shutil.which("busybox")
    if found is None:
        sys.exit("busybox is missing: apt-get install busybox-static")
    if linked_with(found):
        sys.exit(f"{found} needs shared libraries: apt-get install busybox-static")
    return Path(found)


def libraries(binary: str) -> set:
    """Everything that the loader reads for `binary`, the loader itself, and glibc's readers of names."""
    found = linked_with(binary)
    if not found:
        sys.exit(f"{binary} isn't linked with shared libraries, or is for another machine")
    libc = next(Path(path) for path in found if Path(path).name.startswith("libc.so"))
    # Parts of libc itself since glibc 2.34.
    return found | {str(path) for name in ("files", "dns") for path in libc.parent.glob(f"libnss_{name}.so.2")}


def linked_with(binary: str) -> set:
    """The paths that `ldd` names; none for a static program."""
    said = subprocess.run(["ldd", binary], capture_output=True, text=True)
    return set(re.findall(r"(/\S+) \(0x", said.stdout)) if said.returncode == 0 else set()


if __name__ == "__main__":
    main()

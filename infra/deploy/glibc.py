"""Which glibc a program needs. Amazon Linux 2023, on which the functions run, has 2.34: one that needs more doesn't even start there.

A program names the versions of the symbols that it takes from each library (`.gnu.version_r`). Only Python's own library is used.
"""

import re
import struct
from pathlib import Path

# Of provided.al2023.
NEWEST = (2, 34)
VERSIONS_NEEDED = 0x6FFFFFFE


class NoProgram(Exception):
    """Not a 64-bit little-endian ELF file, or a damaged one."""


def needed(program: bytes) -> set[tuple[int, ...]]:
    """The versions of glibc whose symbols a program uses; none if it was linked statically."""
    if program[:6] != b"\x7fELF\x02\x01":
        raise NoProgram("it isn't a 64-bit little-endian ELF file")
    try:
        return {version for name in names(program) if (version := of_glibc(name))}
    except (struct.error, IndexError, ValueError) as error:
        raise NoProgram(f"its sections can't be read ({error})") from error


def names(program: bytes):
    """The names of all versions that a program needs, such as GLIBC_2.34."""
    (sections_at,) = struct.unpack_from("<Q", program, 0x28)
    entry_size, count = struct.unpack_from("<HH", program, 0x3A)
    # For each section: name, type, flags, address, offset, size, link, info, alignment, entry size.
    sections = [struct.unpack_from("<IIQQQQIIQQ", program, sections_at + n * entry_size) for n in range(count)]
    for _, kind, _, _, offset, _, link, libraries, _, _ in sections:
        if kind != VERSIONS_NEEDED:
            continue
        texts = sections[link][4]
        for _ in range(libraries):
            _, versions, _, first, following = struct.unpack_from("<HHIII", program, offset)
            at = offset + first
            for _ in range(versions):
                _, _, _, name, after = struct.unpack_from("<IHHII", program, at)
                yield program[texts + name : program.index(b"\0", texts + name)].decode("ascii", "replace")
                at += after
            offset += following


def of_glibc(name: str) -> tuple[int, ...] | None:
    """`GLIBC_2.34` -> (2, 34). GLIBC_PRIVATE belongs to no version, and to no other program."""
    if name == "GLIBC_PRIVATE":
        return (999,)
    found = re.fullmatch(r"GLIBC_(\d+(?:\.\d+)*)", name)
    return tuple(map(int, found[1].split("."))) if found else None


def too_new(directory: Path) -> list[str]:
    """Each program of a directory (`<function>/bootstrap`) that Amazon Linux 2023 can't start, in words."""
    refused = []
    for path in sorted(directory.glob("*/bootstrap")):
        try:
            above = sorted(version for version in needed(path.read_bytes()) if version > NEWEST)
        except NoProgram as error:
            refused.append(f"{path.parent.name}: {error}")
            continue
        if above:
            versions = ", ".join("GLIBC_" + ".".join(map(str, version)) for version in above)
            refused.append(f"{path.parent.name} needs {versions}; Amazon Linux 2023 has {NEWEST[0]}.{NEWEST[1]}")
    return refused

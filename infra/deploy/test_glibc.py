"""That a program which Amazon Linux 2023 can't start is found before it is deployed. Run by `cargo xtask test mends`."""

import struct
import sys
import tempfile
import unittest
from pathlib import Path

import glibc


def program(libraries: dict[str, list[str]]) -> bytes:
    """An ELF file that needs these versions of symbols of these libraries, and has no code."""
    texts, versions = b"\0", b""

    def text(name: str) -> int:
        nonlocal texts
        texts += name.encode() + b"\0"
        return len(texts) - len(name) - 1

    for number, (library, names) in enumerate(libraries.items(), 1):
        entries = b""
        for index, name in enumerate(names, 1):
            entries += struct.pack("<IHHII", 0, 0, index, text(name), 16 if index < len(names) else 0)
        following = 16 + len(entries) if number < len(libraries) else 0
        versions += struct.pack("<HHIII", 1, len(names), text(library), 16, following) + entries
    needed_at, texts_at = 64, 64 + len(versions)
    sections_at = texts_at + len(texts)
    section = "<IIQQQQIIQQ"
    sections = struct.pack(section, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0)
    sections += struct.pack(section, 0, glibc.VERSIONS_NEEDED, 0, 0, needed_at, len(versions), 2, len(libraries), 4, 0)
    sections += struct.pack(section, 0, 3, 0, 0, texts_at, len(texts), 0, 0, 1, 0)
    head = b"\x7fELF\x02\x01\x01".ljust(16, b"\0")
    head += struct.pack("<HHIQQQIHHHHHH", 3, 62, 1, 0, 0, sections_at, 0, 64, 0, 0, 64, 3, 0)
    return head + versions + texts + sections


FITS = program({"libc.so.6": ["GLIBC_2.2.5", "GLIBC_2.34"], "libgcc_s.so.1": ["GCC_4.2.0"]})


class Glibc(unittest.TestCase):
    def test_versions_are_read_of_every_library(self):
        made = program({"libm.so.6": ["GLIBC_2.29"], "libc.so.6": ["GLIBC_2.2.5", "GLIBC_2.34"], "libgcc_s.so.1": ["GCC_3.0"]})
        self.assertEqual(glibc.needed(made), {(2, 29), (2, 2, 5), (2, 34)})

    def test_this_very_interpreter_is_read(self):
        found = glibc.needed(Path(sys.executable).resolve().read_bytes())
        self.assertTrue(all(version >= (2, 2, 5) for version in found), found)

    def test_what_amazon_linux_lacks_is_refused_by_name(self):
        with tempfile.TemporaryDirectory() as directory:
            for name, content in {
                "fits": FITS,
                "new": program({"libc.so.6": ["GLIBC_2.34", "GLIBC_2.38", "GLIBC_2.35"]}),
                # 2.4 is older than 2.34.
                "old": program({"libc.so.6": ["GLIBC_2.4"]}),
                "private": program({"libc.so.6": ["GLIBC_PRIVATE"]}),
                "script": b"#!/bin/sh\n",
                "torn": FITS[:200],
            }.items():
                path = Path(directory) / name / "bootstrap"
                path.parent.mkdir()
                path.write_bytes(content)
            refused = {line.split()[0].rstrip(":"): line for line in glibc.too_new(Path(directory))}
        self.assertEqual(refused.keys(), {"new", "private", "script", "torn"})
        self.assertIn("needs GLIBC_2.35, GLIBC_2.38; Amazon Linux 2023 has 2.34", refused["new"])


if __name__ == "__main__":
    unittest.main()

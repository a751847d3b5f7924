"""Sets a broker up in a temporary directory and runs `postpeer serve` for a test.

Only Python's standard library. The broker listens on a port that the system chose; the test plays the proxy in front of
it, which people reach at `PUBLIC_URL`.
"""

import contextlib
import json
import os
import re
import subprocess
import tempfile
import threading
import time

from demo import binary, fetch

PUBLIC_URL = "https://connect.example.com"
READY_WITHIN, STOPPED_WITHIN, LOGGED_WITHIN = 30, 30, 30


class Broker:
    """A running broker: its folder, its own URL, an access key with all scopes, and its log so far."""

    def __init__(self, process, key, folder):
        self.process, self.key, self.folder, self.lines, self.url = process, key, folder, [], None
        ready = threading.Event()

        def read():
            for line in process.stderr:
                self.lines.append(line)
                address = re.search(r"address=(127\.0\.0\.1:\d+)", line)
                if address and self.url is None:
                    self.url = f"http://{address.group(1)}"
                    ready.set()
            ready.set()

        self.reader = threading.Thread(target=read, daemon=True)
        self.reader.start()
        if not ready.wait(READY_WITHIN) or self.url is None:
            process.kill()
            process.wait()
            raise RuntimeError(f"the broker did not start:\n{self.log}")

    @property
    def log(self):
        return "".join(self.lines)

    def logged(self, words):
        """Whether the log says these words. A line may come after the answer that it is about, so this waits a while."""
        until = time.monotonic() + LOGGED_WITHIN
        while words not in self.log:
            if time.monotonic() > until:
                return False
            time.sleep(0.02)
        return True

    def call(self, method, path, body=None):
        """Status and JSON of a call to the API."""
        headers = {"x-access-key": self.key}
        if body is not None:
            headers["content-type"] = "application/json"
        body = None if body is None else json.dumps(body).encode()
        status, _, text = fetch(self.url + path, headers=headers, method=method, body=body)
        return status, json.loads(text)

    def visit(self, url):
        """Status, headers and text of a page that a browser asks the broker for."""
        assert url.startswith(f"{PUBLIC_URL}/"), f"not a page of the broker: {url}"
        return fetch(self.url + url.removeprefix(PUBLIC_URL))

    def token(self, integration_id, min_seconds):
        return self.call("GET", f"/v1/connect/integrations/{integration_id}/token?minSeconds={min_seconds}")

    def disconnect(self, integration_id):
        return self.call("DELETE", f"/v1/connect/integrations/{integration_id}")


@contextlib.contextmanager
def broker(configuration, files=None):
    """Runs a broker with these sections of TOML, and with these files (name to text) beside its configuration."""
    with tempfile.TemporaryDirectory() as parent:
        folder = os.path.join(parent, "broker")
        _run("init", "--dir", folder, "--public-url", PUBLIC_URL)
        for name, text in (files or {}).items():
            with open(os.path.join(folder, name), "w", opener=_private) as file:
                file.write(text)
        config = os.path.join(folder, "postpeer.toml")
        with open(config, "w") as file:
            file.write(f'[server]\nlisten = "127.0.0.1:0"\npublic_url = "{PUBLIC_URL}"\n{configuration}')
        scopes = [word for scope in ("connect", "manage", "read", "tokens") for word in ("--scope", scope)]
        key = _run("access-key", "create", "--config", config, "--name", "test", *scopes).strip()
        process = subprocess.Popen(
            [binary(), "serve", "--config", config], stderr=subprocess.PIPE, text=True, env=_environment()
        )
        running = Broker(process, key, folder)
        try:
            yield running
        finally:
            process.terminate()
            try:
                code = process.wait(STOPPED_WITHIN)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
                raise
            running.reader.join(LOGGED_WITHIN)
        assert code == 0, f"the broker stopped with exit code {code}"


def _run(*arguments):
    done = subprocess.run(
        [binary(), *arguments], capture_output=True, text=True, timeout=60, check=False, env=_environment()
    )
    if done.returncode != 0:
        raise RuntimeError(f"postpeer {' '.join(arguments)}: exit code {done.returncode}\n{done.stderr}")
    return done.stdout


def _environment():
    """The test's environment without the settings that it may hold for a broker."""
    return {name: value for name, value in os.environ.items() if not name.startswith("POSTPEER_")}


def _private(path, flags):
    return os.open(path, flags, 0o600)

"""Debian's sqlite3 finds nothing wrong with the database of a running broker that has pending connections.

Older versions of SQLite read constraints in another way than the broker's own: to them, a row may look damaged.

    python3 tests/support/integrity.py target/release/postpeer
"""

import os
import subprocess
import sys

from broker import broker

PLATFORM = """
[platforms.acme]
label = "Acme"
client_id = "c"
client_secret = "s"
authorize_url = "https://id.acme.example/auth"
token_url = "https://id.acme.example/token"
identity_url = "https://id.acme.example/me"
scopes = ["openid"]
identity = { id = "/sub" }
"""


def check():
    with broker(PLATFORM) as running:
        for _ in range(5):
            status, answer = running.call("GET", "/v1/connect/acme?redirectUri=https://app.example/back")
            assert status == 200, answer
        status, answer = running.call("POST", "/v1/profiles", {"name": "Zo\u00eb"})
        assert status == 201, answer
        database = os.path.join(running.folder, "postpeer.db")
        for statement, expected in [
            ("PRAGMA integrity_check", "ok"),
            ("PRAGMA foreign_key_check", ""),
            ("SELECT count(*) FROM flows WHERE outcome IS NULL", "5"),
        ]:
            done = subprocess.run(["sqlite3", database, statement], capture_output=True, text=True, timeout=60, check=True)
            assert done.stdout.strip() == expected, f"{statement}: {done.stdout}{done.stderr}"
    version = subprocess.run(["sqlite3", "--version"], capture_output=True, text=True, check=True).stdout.split()[0]
    print(f"sqlite3 {version} finds nothing wrong")


if __name__ == "__main__":
    sys.exit(check())

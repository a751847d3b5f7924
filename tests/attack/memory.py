"""Copies of secrets in the memory of a running broker, some seconds after their use: of tokens none, of others few.

Connects accounts at a server of its own with secrets that it knows, refreshes and hands out tokens, and tries wrong app
passwords. Then it searches the writable memory of the process for each secret. Only Python's standard library; needs
Linux, and root or CAP_SYS_PTRACE, because the broker closes its memory to others of its user. Without, it fails.
Run: python3 tests/attack/memory.py [path to the binary]
"""

import base64
import http.server
import json
import os
import re
import secrets
import sys
import threading
import time
import urllib.parse

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "support"))

from broker import PUBLIC_URL, broker  # noqa: E402
from demo import fetch, query  # noqa: E402

# Connections, each with its own code, tokens and password.
ROUNDS = 8
# Seconds between the last use and the search.
PAUSE = 5
# Requests without secrets that follow. Every worker gets some.
OTHERS = 64
# Seconds that the first access token lasts.
LIFE = 3600


class Server(http.server.ThreadingHTTPServer):
    """An OAuth server, and a Bluesky server with its directory, that remember every secret they saw or made."""

    daemon_threads = True

    def __init__(self):
        super().__init__(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server_address[1]}"
        self.tokens, self.verifiers, self.people = [], [], 0
        threading.Thread(target=self.serve_forever, daemon=True).start()


class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def log_message(self, *_):
        pass

    def answer(self, status, body):
        body = json.dumps(body).encode()
        self.send_response(status)
        self.send_header("content-type", "application/json")
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def do_GET(self):
        if self.path.startswith("/me"):
            self.server.people += 1
            self.answer(200, {"sub": f"person{self.server.people}", "name": "Ada"})
        elif self.path.startswith("/did:plc:"):
            pds = {"id": "#atproto_pds", "type": "AtprotoPersonalDataServer", "serviceEndpoint": self.server.url}
            self.answer(200, {"id": self.path[1:], "alsoKnownAs": ["at://ada.example"], "service": [pds]})
        else:
            self.answer(404, {"error": "NotFound"})

    def do_POST(self):
        body = self.rfile.read(int(self.headers["content-length"])).decode()
        if self.path == "/token":
            fields = query(f"?{body}")
            self.server.verifiers += [fields["code_verifier"]] if "code_verifier" in fields else []
            made = {"access_token": secrets.token_hex(24), "refresh_token": secrets.token_hex(24)}
            self.server.tokens.append((made["access_token"], made["refresh_token"]))
            life = LIFE if fields["grant_type"] == "authorization_code" else 2 * LIFE
            self.answer(200, {**made, "token_type": "Bearer", "expires_in": life})
        elif self.path.endswith("com.atproto.server.createSession"):
            self.answer(401, {"error": "AuthenticationRequired", "message": "Invalid identifier or password"})
        else:
            self.answer(200, {})


def writable(pid):
    """The writable memory of a process, in pieces that are contiguous."""
    try:
        maps, memory = open(f"/proc/{pid}/maps"), open(f"/proc/{pid}/mem", "rb", 0)
    except PermissionError:
        sys.exit("NOT TESTED: only root, or CAP_SYS_PTRACE, may read the memory of the broker")
    with maps, memory:
        for line in maps:
            start, end, rights = re.match(r"([0-9a-f]+)-([0-9a-f]+) (\S+)", line).groups()
            if not rights.startswith("rw"):
                continue
            start, end = int(start, 16), int(end, 16)
            try:
                memory.seek(start)
                yield memory.read(end - start)
            except OSError:
                # The kernel's own pages.
                continue


def count(pid, used):
    """The number of copies in the memory, by the kind of secret."""
    found = dict.fromkeys(MOST, 0)
    for piece in writable(pid):
        for name, values in used.items():
            found[name] += sum(piece.count(value.encode()) for value in values)
    return found


SECRET = secrets.token_hex(24)
# The most copies of all the secrets of a kind: right after their use, and once other requests have followed. A worker
# keeps its latest request, and a client secret of the operator is kept until it is replaced.
MOST = {
    "access key": (12, 2),
    "state": (10, 2),
    "code": (10, 2),
    "verifier": (2, 2),
    "access token, replaced": (2, 2),
    "access token, handed out": (4, 2),
    "refresh token, spent": (2, 2),
    "refresh token, in use": (2, 2),
    "app password": (6, 2),
    "client secret of a caller": (6, 2),
    "client secret of the operator": (4, 4),
    "the same, as it is sent": (2, 2),
}


def use(server, running):
    """Uses secrets of every kind. Returns them, by kind, in the order of their use."""
    used = {name: [] for name in MOST}
    ask = {"x-access-key": running.key}
    for number in range(ROUNDS):
        back = urllib.parse.quote("https://app.example/connected", safe="")
        status, told = running.call("GET", f"/v1/connect/acme?redirectUri={back}")
        assert status == 200, told
        state, code = query(told["url"])["state"], secrets.token_hex(24)
        status, headers, page = running.visit(f"{PUBLIC_URL}/v1/connect/acme/callback?code={code}&state={state}")
        assert status == 303, page
        integration = query(headers["Location"])["integrationId"]
        # As long as the first token lasted when it was new, so it is refreshed and then handed out.
        status, told = running.token(integration, LIFE)
        assert status == 200, told
        (first, first_refresh), (second, second_refresh) = server.tokens[-2:]
        assert told["accessToken"] == second
        password = "-".join(secrets.token_hex(2) for _ in range(4))
        # Another account each time: the attempts at one are limited.
        account = {"identifier": f"did:plc:{'a' * 23}{'abcdefghijklmnop'[number]}", "password": password}
        status, told = running.call("POST", "/v1/connect/bluesky/auth", account)
        assert status == 401, (status, told)
        own = secrets.token_hex(24)
        app = {"name": "own", "platform": "twitter", "clientId": secrets.token_hex(8), "clientSecret": own}
        status, told = running.call("POST", "/v1/apps", app)
        assert status in (200, 201), (status, told)
        for name, secret in [
            ("code", code), ("state", state), ("verifier", server.verifiers[-1]), ("access token, replaced", first),
            ("refresh token, spent", first_refresh), ("access token, handed out", second),
            ("refresh token, in use", second_refresh), ("app password", password), ("client secret of a caller", own),
        ]:
            used[name].append(secret)
    used["access key"].append(running.key)
    used["client secret of the operator"].append(SECRET)
    used["the same, as it is sent"].append(base64.b64encode(f"client:{SECRET}".encode()).decode())
    return used


def main():
    server = Server()
    url = server.url
    configuration = f"""
[outbound]
allow_private_networks = true
[limits]
bluesky_per_key = 0
bluesky_per_address = 0
[platforms.bluesky]
plc_url = "{url}"
resolver_url = "{url}"
[platforms.acme]
client_id = "client"
client_secret = "{SECRET}"
authorize_url = "{url}/authorize"
token_url = "{url}/token"
revoke_url = "{url}/revoke"
identity_url = "{url}/me"
scopes = ["openid"]
identity = {{ id = "/sub", name = "/name" }}
"""
    with broker(configuration) as running:
        used = use(server, running)
        time.sleep(PAUSE)
        before = count(running.process.pid, used)
        for _ in range(OTHERS):
            status, _, _ = fetch(f"{running.url}/healthz")
            assert status == 200, status
        after = count(running.process.pid, used)
    print(f"Copies of secrets in writable memory, {PAUSE} s after their use, and after {OTHERS} other requests:")
    for name, most in MOST.items():
        print(f"  {name:30} x{len(used[name])}: {before[name]}, {after[name]} (at most {most[0]}, {most[1]})")
    excess = [name for name, most in MOST.items() if before[name] > most[0] or after[name] > most[1]]
    if excess:
        sys.exit(f"there are too many copies: {', '.join(excess)}")
    if not before["client secret of the operator"]:
        sys.exit("a secret that must be in the memory was not found: this search finds nothing")


if __name__ == "__main__":
    main()

"""Connections of accounts on Bluesky's reference server (PDS), by app password.

Starts the server and its directory of identities on loopback, and for each scenario a broker and an account of its own.
Run: python3 tests/conformance/bluesky.py [path to the binary [scenario …]]
"""

import base64
import contextlib
import json
import os
import sys

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "support"))

from broker import broker  # noqa: E402
from demo import fetch  # noqa: E402
from node import node  # noqa: E402
from scenarios import check, eventually, run, scenario  # noqa: E402

# Seconds that the server's access tokens last.
LIFE = 7200
OWN_PASSWORD = "the account's own password"


class Account:
    """An account on the server, as its owner uses it: with all rights."""

    def __init__(self, server, name):
        self.server, self.handle, self.token = server, f"{name}.test", None
        made = self.call("com.atproto.server.createAccount", {
            "handle": self.handle, "email": f"{name}@example.com", "password": OWN_PASSWORD})
        self.did, self.token = made["did"], made["accessJwt"]

    def call(self, method, body=None, authorization=None):
        authorization = authorization or (self.token and f"Bearer {self.token}")
        headers = {"authorization": authorization} if authorization else {}
        if body is not None:
            headers["content-type"] = "application/json"
        status, _, text = fetch(
            f"{self.server.ready['url']}/xrpc/{method}", headers=headers, method="POST",
            body=None if body is None else json.dumps(body).encode())
        check(f"{method}: {status} {text}", status == 200)
        return json.loads(text) if text else None

    def app_password(self, name="postpeer"):
        return self.call("com.atproto.server.createAppPassword", {"name": name})["password"]

    def take_down(self):
        admin = base64.b64encode(f"admin:{self.server.ready['admin']}".encode()).decode()
        self.call("com.atproto.admin.updateSubjectStatus", {
            "subject": {"$type": "com.atproto.admin.defs#repoRef", "did": self.did}, "takedown": {"applied": True},
        }, f"Basic {admin}")

    def sessions(self):
        """Its open sessions besides the one that began with the account: names of app passwords, or None."""
        sessions = self.server.ask("sessions", did=self.did)
        sessions.remove(None)
        return sessions


class Connection:
    """A broker and an account that connects to it."""

    def __init__(self, server, running, name):
        self.server, self.broker, self.account = server, running, Account(server, name)
        self.calls()

    def calls(self):
        """The methods of the server that were called since the last time."""
        return self.server.ask("calls")

    def connect(self, password, identifier=None):
        body = {"identifier": identifier or self.account.handle, "password": password}
        return self.broker.call("POST", "/v1/connect/bluesky/auth", body)

    def connected(self, password, identifier=None):
        status, told = self.connect(password, identifier)
        check(f"connected: {status} {told}", status == 200)
        return told["integration"]

    def refused(self, password, status, code, identifier=None):
        got = self.connect(password, identifier)
        check(f"refused with {status} {code}: {got}", (got[0], got[1]["code"]) == (status, code))

    def token(self, integration, min_seconds=0):
        """The token, for which the server itself says whose it is."""
        status, told = self.broker.token(integration["id"], min_seconds)
        check(f"a token: {status} {told}", status == 200)
        check(f"where it is good: {told}", told["serviceUrl"] == self.server.ready["named"])
        status, _, text = fetch(
            f"{told['serviceUrl']}/xrpc/com.atproto.server.getSession",
            headers={"authorization": f"Bearer {told['accessToken']}"})
        check(f"the token works: {status} {text}", status == 200 and json.loads(text)["did"] == self.account.did)
        return told["accessToken"]

    def refreshed(self, integration):
        """Status and answer of asking for a token that lasts as long as only a new one does."""
        self.calls()
        answer = self.broker.token(integration["id"], LIFE)
        calls = self.calls()
        check(f"one refresh: {calls}", calls.count("com.atproto.server.refreshSession") == 1)
        return answer

    def ends_with_refresh(self, integration, reason):
        """The next refresh says that the account must be reconnected, and says it once."""
        status, told = self.refreshed(integration)
        check(f"must be reconnected: {status} {told}", (status, told["code"]) == (422, "reconnect_required"))
        status, again = self.broker.token(integration["id"], 0)
        check(f"remembered: {status} {again}", (status, again["code"]) == (422, "reconnect_required"))
        check("the server is not asked again", "com.atproto.server.refreshSession" not in self.calls())
        detail = self.broker.call("GET", f"/v1/connect/integrations/{integration['id']}")[1]["integration"]
        check(f"the reason: {detail['tokenStatus']}", detail["tokenStatus"]["reason"] == reason)


@contextlib.contextmanager
def connection_to(server, name):
    # Only the test has tokens refreshed.
    settings = f"""
[platforms.bluesky]
resolver_url = "{server.ready['url']}"
plc_url = "{server.ready['plc']}"
[outbound]
allow_private_networks = true
[refresh]
enabled = false
"""
    with broker(settings) as running:
        try:
            yield Connection(server, running, name)
        except Exception:
            print("the broker logged:", running.log, sep="\n", file=sys.stderr)
            raise


@scenario
def whole(server):
    """From the app password to the end of the session."""
    with connection_to(server, "ada") as connection:
        password = connection.account.app_password()
        integration = connection.connected(password)
        check(f"who: {integration}", integration["platformUserId"] == connection.account.did)
        check(f"the handle: {integration}", integration["username"] == "@ada.test")
        check("one session, of the app password", connection.account.sessions() == ["postpeer"])
        connection.token(integration)
        expires_at = ""
        for _ in range(2):
            status, told = connection.refreshed(integration)
            check(f"refreshed: {status} {told}", status == 200 and told["expiresAt"] > expires_at)
            expires_at = told["expiresAt"]
            connection.token(integration)
            check("still one session", connection.account.sessions() == ["postpeer"])
        status, told = connection.broker.disconnect(integration["id"])
        check(f"disconnected: {status} {told}", status == 200 and "revoked the tokens" in told["message"])
        check("the session is ended", connection.account.sessions() == [])
        check("nothing is left here", connection.broker.token(integration["id"], 0)[0] == 404)


@scenario
def again(server):
    """Connecting again, by handle in another form and by DID, keeps the integration and leaves one session."""
    with connection_to(server, "basil") as connection:
        account, password = connection.account, connection.account.app_password()
        ids = {connection.connected(password, name)["id"] for name in (account.handle, "@Basil.TEST", account.did)}
        check(f"one integration: {ids}", len(ids) == 1)
        eventually("the older sessions are ended", lambda: account.sessions() == ["postpeer"])


@scenario
def wrong_password(server):
    with connection_to(server, "cleo") as connection:
        connection.refused("abcd-efgh-ijkl-mnop", 401, "bluesky_credentials_rejected")
        check("it was tried once", connection.calls().count("com.atproto.server.createSession") == 1)
        check("no session", connection.account.sessions() == [])


@scenario
def own_password(server):
    """The account's own password is not taken, and the session that it began is ended."""
    with connection_to(server, "dora") as connection:
        connection.refused(OWN_PASSWORD, 400, "app_password_required")
        calls = connection.calls()
        check(f"begun and ended: {calls}", [calls.count(f"com.atproto.server.{name}Session") for name in (
            "create", "delete")] == [1, 1])
        check("no session is left", connection.account.sessions() == [])


@scenario
def revoked(server):
    """The owner revokes the app password; another one connects the same account again."""
    with connection_to(server, "emil") as connection:
        integration = connection.connected(connection.account.app_password())
        connection.account.call("com.atproto.server.revokeAppPassword", {"name": "postpeer"})
        # The server says the same of tokens that are revoked and of those that have expired.
        connection.ends_with_refresh(integration, "refresh_rejected")
        again = connection.connected(connection.account.app_password("another"))
        check("it is the same integration", again["id"] == integration["id"])
        connection.token(again)
        check("one session", connection.account.sessions() == ["another"])


@scenario
def taken_down(server):
    """The server's administrator takes the account down."""
    with connection_to(server, "finn") as connection:
        password = connection.account.app_password()
        integration = connection.connected(password)
        connection.account.take_down()
        connection.ends_with_refresh(integration, "access_revoked")
        # Only with the account's own password does the server say that it is taken down.
        connection.refused(password, 401, "bluesky_credentials_rejected", connection.account.did)
        connection.refused(OWN_PASSWORD, 400, "account_inactive", connection.account.did)
        # It does not resolve the handle any more.
        connection.refused(password, 502, "identity_unresolved")


@scenario
def deactivated(server):
    """The owner deactivates the account, before it is connected and after."""
    with connection_to(server, "gwen") as connection:
        password = connection.account.app_password()
        connection.account.call("com.atproto.server.deactivateAccount", {})
        connection.refused(password, 400, "account_inactive", connection.account.did)
        connection.refused(password, 502, "identity_unresolved")
        check("nothing is connected", connection.broker.call("GET", "/v1/connect/integrations")[1]["total"] == 0)
        check("no session is left", connection.account.sessions() == [])
        connection.account.call("com.atproto.server.activateAccount")
        integration = connection.connected(password)
        connection.account.call("com.atproto.server.deactivateAccount", {})
        # Its session goes on, so that it works again when its owner comes back.
        check("refreshed while deactivated", connection.refreshed(integration)[0] == 200)
        connection.account.call("com.atproto.server.activateAccount")
        check("refreshed when active again", connection.refreshed(integration)[0] == 200)
        connection.token(integration)


@scenario
def unknown(server):
    """A handle that the server does not know."""
    with connection_to(server, "hugo") as connection:
        connection.refused("abcd-efgh-ijkl-mnop", 502, "identity_unresolved", "nobody.test")
        check("no password was sent", "com.atproto.server.createSession" not in connection.calls())


run(node("bluesky"))

"""Connections to the certified OpenID Provider `oidc-provider`, in the ways that OAuth clients may differ.

Starts the provider on loopback, and for each scenario a broker that knows it from a few lines of TOML.
Run: python3 tests/conformance/oidc.py [path to the binary [scenario …]]
"""

import contextlib
import http.cookiejar
import json
import os
import sys
import urllib.parse
import urllib.request

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "support"))

from broker import PUBLIC_URL, broker  # noqa: E402
from demo import Form, NoRedirect, fetch, query  # noqa: E402
from node import node  # noqa: E402
from scenarios import check, run, scenario  # noqa: E402

CALLBACK = f"{PUBLIC_URL}/v1/connect/acme/callback"
BACK = "https://app.example/connected?nonce=%2F1"
# A login, a consent, and the steps between them.
MOST_STEPS = 12


class Person:
    """Someone with a browser: their cookies, and what they answer at the provider."""

    def __init__(self, login="ada"):
        self.login = login
        self.opener = urllib.request.build_opener(
            NoRedirect, urllib.request.ProxyHandler({}), urllib.request.HTTPCookieProcessor(http.cookiejar.CookieJar())
        )

    def consent(self, url, agrees=True):
        """Logs in and consents, or refuses to. Returns the callback URL that the browser would go to."""
        data = None
        for _ in range(MOST_STEPS):
            status, headers, page = fetch(url, data, opener=self.opener)
            if status in (302, 303):
                url, data = urllib.parse.urljoin(url, headers["Location"]), None
                if url.startswith(f"{PUBLIC_URL}/"):
                    return url
                continue
            check(f"a page of the provider: {status}\n{page}", status == 200)
            form = Form()
            form.feed(page)
            asked = dict(form.fields)["prompt"]
            if asked == "consent" and not agrees:
                url, data = f"{url}/abort", None
                continue
            url, data = urllib.parse.urljoin(url, form.action), form.fields
            if asked == "login":
                data = [*data, ("login", self.login), ("password", "any")]
        raise AssertionError("the provider's pages do not end")


class Connection:
    """A provider, a broker that has it as its platform `acme`, and what happened between them."""

    def __init__(self, provider, running):
        self.provider, self.broker = provider, running
        self.requests, self.refusals, self.ended = [], [], []
        self.happened()

    def happened(self):
        """The requests since the last time."""
        events = self.provider.ask("events")
        self.requests += events["requests"]
        self.refusals += events["refusals"]
        self.ended += events["ended"]
        return events["requests"]

    def authorize_url(self):
        redirect = urllib.parse.quote(BACK, safe="")
        status, told = self.broker.call("GET", f"/v1/connect/acme?redirectUri={redirect}")
        check(f"a connection begins: {status} {told}", status == 200)
        return told["url"]

    def come_back(self, callback):
        """What the application learns when the browser comes back by way of the broker's callback."""
        status, headers, page = self.broker.visit(callback)
        check(f"the browser is sent back: {status}\n{page}", status == 303)
        check("the application's query stays", headers["Location"].startswith(f"{BACK}&"))
        return query(headers["Location"])

    def connect(self):
        """Connects Ada, with PKCE. Returns the integration."""
        self.happened()
        callback = Person().consent(self.authorize_url())
        told = self.come_back(callback)
        check(f"connected: {told}", told["status"] == "success" and told["platform"] == "acme")
        requests = self.happened()
        begun = next(request["params"] for request in requests if request["route"] == "authorization")
        check(f"the challenge is S256: {begun}", begun["code_challenge_method"] == "S256" and begun["code_challenge"])
        check(f"a code comes back to the callback: {begun}", begun["redirect_uri"] == CALLBACK and begun["state"])
        exchanged = [request for request in requests if request["route"] == "token"]
        check(f"one exchange: {exchanged}", [request["status"] for request in exchanged] == [200])
        check("the verifier is sent", exchanged[0]["params"]["code_verifier"])
        status, detail = self.broker.call("GET", f"/v1/connect/integrations/{told['integrationId']}")
        check(f"the integration: {detail}", status == 200)
        integration = detail["integration"]
        check(f"its id is the subject: {integration}", integration["platformUserId"] == "ada")
        return integration

    def token(self, integration, min_seconds=0):
        status, told = self.broker.token(integration["id"], min_seconds)
        check(f"a token: {status} {told}", status == 200 and told["tokenType"].lower() == "bearer")
        return told["accessToken"]

    def refresh(self, integration):
        """Has the token refreshed: no token that was issued a moment ago lasts its whole life."""
        old = self.token(integration)
        self.happened()
        new = self.token(integration, self.provider.ready["life"])
        refreshes = [request for request in self.happened() if request["route"] == "token"]
        check(f"one refresh: {refreshes}", [
            (request["params"]["grant_type"], request["status"]) for request in refreshes] == [("refresh_token", 200)])
        check("it brought another token", new != old and self.provider.ask("accepts", token=new))

    def disconnect(self, integration):
        token = self.token(integration)
        check("the token works", self.provider.ask("accepts", token=token))
        status, told = self.broker.disconnect(integration["id"])
        check(f"disconnected: {status} {told}", status == 200)
        revoked = [request for request in self.happened() if request["route"] == "revocation"]
        check(f"revoked: {told}", "revoked the tokens" in told["message"])
        check(f"a revocation: {revoked}", revoked and all(request["status"] == 200 for request in revoked))
        check("the token is gone", not self.provider.ask("accepts", token=token))
        status, told = self.broker.token(integration["id"], 0)
        check(f"nothing is left here: {status} {told}", status == 404)

    def whole(self):
        """A connection from its beginning to its end. The second refresh needs what the first one brought."""
        self.happened()
        ended, refusals = len(self.ended), len(self.refusals)
        integration = self.connect()
        self.refresh(integration)
        self.refresh(integration)
        self.disconnect(integration)
        check(f"the consent is ended there: {self.ended}", len(self.ended) == ended + 1)
        check(f"the provider refused nothing: {self.refusals}", len(self.refusals) == refusals)
        return integration

    def authentication(self):
        """How the client authenticated where it had to: scheme and parameters."""
        asked = [request for request in self.requests if request["route"] in ("token", "revocation")]
        check("exchange, two refreshes, revocation", len(asked) >= 4)
        ours = ("client_id", "client_secret", "client_assertion")
        return {(request["scheme"], *(name for name in ours if request["params"].get(name))) for request in asked}


def endpoints(provider, client_id, *lines):
    """The section of a platform whose endpoints the operator looked up."""
    issuer = provider.ready["issuer"]
    return "\n".join([
        "[platforms.acme]",
        f'client_id = "{client_id}"',
        f'authorize_url = "{issuer}/auth"',
        f'token_url = "{issuer}/token"',
        f'revoke_url = "{issuer}/token/revocation"',
        f'identity_url = "{issuer}/me"',
        'scopes = ["openid", "profile", "offline_access"]',
        'authorize_params = { prompt = "consent" }',
        'identity = { id = "/sub", username = "/preferred_username", name = "/name", image = "/picture" }',
        *lines,
    ])


def discovered(provider, client_id, *lines, issuer=None):
    """The section of a platform that the broker asks for its endpoints."""
    return "\n".join([
        "[platforms.acme]", f'issuer = "{issuer or provider.ready["issuer"]}"', f'client_id = "{client_id}"', *lines])


def secret(provider):
    return f"client_secret = {json.dumps(provider.ready['secret'])}"


def signing(algorithm):
    """The lines of a client that signs with key.pem. One kind of key is named; the others the provider finds."""
    lines = ['client_auth = "private_key_jwt"', 'private_key_file = "key.pem"']
    if algorithm == "ES256":
        lines.append('private_key_id = "key ES256"')
    if algorithm == "PS256":
        lines.append('private_key_algorithm = "PS256"')
    return lines


@contextlib.contextmanager
def connection_to(provider, section, files=None):
    # Only the test has tokens refreshed.
    with broker(f"{section}\n[refresh]\nenabled = false\n", files) as running:
        connection = Connection(provider, running)
        try:
            yield connection
        except Exception:
            connection.happened()
            print("the provider refused:", *connection.refusals, sep="\n", file=sys.stderr)
            print("the broker logged:", running.log, sep="\n", file=sys.stderr)
            raise


@scenario
def basic(provider):
    """The client authenticates with the header; everything is looked up by hand."""
    with connection_to(provider, endpoints(provider, "basic", secret(provider))) as connection:
        integration = connection.whole()
        told = [integration[name] for name in ("username", "displayName", "imageUrl")]
        check(f"who connected: {told}", told == ["ada", "Ada Marlow", "https://cdn.example.com/ada.png"])
        check("the header alone", connection.authentication() == {("basic",)})


@scenario
def post(provider):
    """The client authenticates in the body."""
    with connection_to(provider, endpoints(provider, "post", secret(provider), 'client_auth = "body"')) as connection:
        connection.whole()
        check("the body alone", connection.authentication() == {("", "client_id", "client_secret")})


@scenario
def refused(provider):
    """The person refuses to consent."""
    with connection_to(provider, endpoints(provider, "basic", secret(provider))) as connection:
        callback = Person().consent(connection.authorize_url(), agrees=False)
        check(f"the provider says so: {callback}", query(callback)["error"] == "access_denied")
        told = connection.come_back(callback)
        check(f"cancelled: {told}", told["status"] == "cancelled")
        check("no code was exchanged", all(request["route"] != "token" for request in connection.happened()))


@scenario
def wrong_secret(provider):
    """The operator mistyped the client's secret."""
    with connection_to(provider, endpoints(provider, "basic", 'client_secret = "mistyped"')) as connection:
        told = connection.come_back(Person().consent(connection.authorize_url()))
        check(f"an error: {told}", told["status"] == "error")
        exchanges = [request["status"] for request in connection.happened() if request["route"] == "token"]
        check(f"the code was sent once: {exchanges}", exchanges == [401])
        check("the log says what is wrong", connection.broker.logged("invalid_client"))


@scenario
def ended(provider):
    """The person ends the consent at the provider, and gives it again."""
    with connection_to(provider, endpoints(provider, "basic", secret(provider))) as connection:
        integration = connection.connect()
        provider.ask("end", sub="ada")
        status, told = connection.broker.token(integration["id"], provider.ready["life"])
        check(f"must be reconnected: {status} {told}", (status, told["code"]) == (422, "reconnect_required"))
        again = connection.connect()
        check("it is the same integration", again["id"] == integration["id"])
        connection.refresh(again)
        connection.disconnect(again)


@scenario
def public(provider):
    """A client without a secret, whose refresh tokens are replaced each time."""
    with connection_to(provider, endpoints(provider, "public", 'client_auth = "none"')) as connection:
        connection.whole()
        check("the id alone", connection.authentication() == {("", "client_id")})


@scenario
def discovery(provider):
    """Three lines of TOML."""
    with connection_to(provider, discovered(provider, "basic", secret(provider))) as connection:
        connection.whole()
        routes = {request["route"] for request in connection.requests}
        check(f"the endpoints were asked for: {routes}", "discovery" in routes)


@scenario
def pushed(provider):
    """Authorization requests are pushed (RFC 9126): where the metadata wants it, and where the operator knows of it."""
    strict, pem = provider.ready["strict"], provider.ready["pems"]["ES256"]
    for section, scheme in (
        (discovered(provider, "basic", secret(provider), issuer=strict), "basic"),
        (discovered(provider, "jwt-ES256", *signing("ES256"), issuer=strict), ""),
        (discovered(provider, "pushed", secret(provider), "par = true"), "basic"),
    ):
        with connection_to(provider, section, {"key.pem": pem}) as connection:
            sent = query(connection.authorize_url())
            check(f"the browser carries only a reference: {sent}", sent.keys() == {"client_id", "request_uri"})
            connection.whole()
            asked = [request for request in connection.requests if request["route"] == "pushed_authorization_request"]
            check(f"two were pushed: {asked}", [request["status"] for request in asked] == [201, 201])
            check("by the client itself", all(request["scheme"] == scheme for request in asked))


@scenario
def private_key_jwt(provider):
    """The client authenticates with a signature (RFC 7523), by each kind of key."""
    for algorithm, pem in provider.ready["pems"].items():
        section = discovered(provider, f"jwt-{algorithm}", *signing(algorithm))
        with connection_to(provider, section, {"key.pem": pem}) as connection:
            connection.whole()
            ways = connection.authentication()
            check(f"{algorithm}: the assertion alone: {ways}", ways <= {
                ("", "client_assertion"), ("", "client_id", "client_assertion")})
            used = [request["params"]["client_assertion"] for request in connection.requests
                    if request["route"] in ("token", "revocation")]
            check(f"{algorithm}: each assertion is new", len(set(used)) == len(used))


@scenario
def id_token(provider):
    """The id_token says who connected, signed by each kind of key."""
    for algorithm in provider.ready["algorithms"]:
        section = discovered(provider, f"signed-{algorithm}", secret(provider), 'identity_from = "id_token"')
        with connection_to(provider, section) as connection:
            connection.whole()
            asked = {request["route"] for request in connection.requests}
            check(f"{algorithm}: the provider's keys verify it: {asked}", "jwks" in asked and "userinfo" not in asked)


@scenario
def issuer(provider):
    """A callback counts only when it names the provider (RFC 9207), whether it brings a code or a refusal."""
    with connection_to(provider, discovered(provider, "basic", secret(provider))) as connection:
        right, foreign = provider.ready["issuer"], "https://evil.example.com"
        for agrees in (True, False):
            for named in (foreign, f"{right}/", None):
                callback = urllib.parse.urlsplit(Person().consent(connection.authorize_url(), agrees))
                fields = urllib.parse.parse_qsl(callback.query)
                check(f"the provider names itself: {fields}", ("iss", right) in fields)
                fields = [(name, named if name == "iss" else value) for name, value in fields]
                fields = [(name, value) for name, value in fields if value is not None]
                connection.happened()
                told = connection.come_back(callback._replace(query=urllib.parse.urlencode(fields)).geturl())
                check(f"{agrees}, iss={named}: {told}", told["status"] == "error")
                asked = [request["route"] for request in connection.happened()]
                check(f"{agrees}, iss={named}: the code goes nowhere: {asked}", "token" not in asked)
        listed = connection.broker.call("GET", "/v1/connect/integrations?platform=acme")[1]
        check(f"nothing is connected: {listed}", listed["total"] == 0)
        connection.whole()


run(node("oidc", CALLBACK))

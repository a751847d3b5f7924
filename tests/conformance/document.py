"""schemathesis, which others wrote, compares a running demo with its OpenAPI document: each answer is described, what fits
the document is accepted, what does not is refused.

Ids, tokens and tickets in paths are real ones most of the time, made when they are needed, so that each operation is reached
beyond its 404. Needs schemathesis (tests/requirements.txt).
Run: .venv/bin/python tests/conformance/document.py [path to the binary] [more options of `st run`]
"""

import json
import os
import random
import subprocess
import sys
import tempfile
import urllib.parse

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, os.path.join(HERE, "..", "support"))

from demo import authorize_url, consent, demo, fetch  # noqa: E402

# Statuses that are right for a request that fits the document, because they depend on what is stored, who asks, or what
# a platform says: no account by this handle, a choice that was made already, too many attempts.
DEPENDS = ["2xx", "303", "304", "401", "403", "404", "409", "422", "429", "502"]
# Statuses that refuse a request that does not fit.
REFUSED = ["400", "401", "403", "404", "405", "408", "413", "414", "415", "422"]
CONFIGURATION = """
seed = 20261126
[checks]
positive_data_acceptance.expected-statuses = {depends}
negative_data_rejection.expected-statuses = {refused}
# A platform or an account's server that cannot be reached is described.
not_a_server_error.expected-statuses = ["2xx", "3xx", "4xx", "502"]
"""


class Seeds:
    """Real values for the parameters of paths."""

    def __init__(self, url, key):
        self.url, self.key, self.random = url, key, random.Random(7)
        self.kept = {}

    def call(self, method, path, body=None):
        status, _, text = fetch(self.url + path, method=method, body=None if body is None else json.dumps(body).encode(),
                                headers={"x-access-key": self.key, "content-type": "application/json"})
        assert status < 300, f"{method} {path}: {status}\n{text}"
        return json.loads(text)

    def value(self, path, method, name):
        """A value for the parameter, or None where any will do."""
        makers = {
            "/v1/profiles/": self.profile,
            "/v1/apps/": self.app,
            "/v1/connect/integrations/": self.integration,
            "/v1/connect/flows/": self.waiting,
            "/v1/connect/links/": lambda: self.link()["id"],
            "/connect/link/": lambda: self.link()["url"].rsplit("/", 1)[1],
            "/connect/result/": self.result,
            "/connect/selection/": lambda: self.selection("facebook", ""),
            "/assets/": self.picture,
        }
        for platform in ("facebook", "googlebusiness", "linkedin"):
            makers[f"/v1/connect/{platform}/selection/"] = lambda platform=platform: self.selection(platform, "true")
        maker = next((maker for start, maker in makers.items() if path.startswith(start)), None)
        if name == "platform":
            return self.random.choice(["twitter", "youtube", "facebook", "tiktok", "bluesky"])
        if maker is None or self.random.random() < 0.2:
            return None
        # What a call uses up is made for that call; the rest is made once.
        spends = method in ("DELETE", "POST") or path.endswith("/retry")
        if spends or path not in self.kept:
            self.kept[path] = maker()
        return self.kept[path]

    def profile(self):
        return self.call("POST", "/v1/profiles/", {"name": "Seed"})["profile"]["id"]

    def app(self):
        client = f"seed-{self.random.getrandbits(64):x}"
        body = {"platform": "twitter", "name": "Seed", "clientId": client, "clientSecret": "secret"}
        return self.call("POST", "/v1/apps/", body)["app"]["id"]

    def link(self):
        return self.call("POST", "/v1/connect/links", {"platforms": ["twitter"]})["link"]

    def connection(self, platform, **parameters):
        """Where the browser ends."""
        callback = consent(authorize_url(self, platform, **parameters))
        status, headers, page = fetch(callback)
        assert status == 303, f"{platform}: {status}\n{page}"
        return headers["Location"]

    def integration(self):
        profile = self.profile()
        location = self.connection("twitter", redirectUri="https://app.example/", profileId=profile)
        return urllib.parse.parse_qs(urllib.parse.urlsplit(location).query)["integrationId"][0]

    def waiting(self):
        """A connection that can be completed."""
        begun = self.call("GET", "/v1/connect/threads?completion=true")
        fetch(consent(begun["url"]))
        return begun["flowId"]

    def result(self):
        declined = consent(authorize_url(self, "twitter"), decision="deny")
        return fetch(declined)[1]["Location"].split("?")[0].rsplit("/", 1)[1]

    def selection(self, platform, headless):
        if headless:
            location = self.connection(platform, redirectUri="https://app.example/", headless="true")
            return urllib.parse.parse_qs(urllib.parse.urlsplit(location).query)["selectionToken"][0]
        return urllib.parse.urlsplit(self.connection(platform)).path.rsplit("/", 1)[1]

    def picture(self):
        page = fetch(self.url + "/")[2]
        return page.split('rel="icon" href="')[1].split('"')[0].rsplit("/", 1)[1]


def hooks():
    """The part that schemathesis loads, in its own process."""
    import schemathesis

    seeds = Seeds(os.environ["SEEDS_URL"], os.environ["SEEDS_KEY"])

    @schemathesis.hook
    def map_path_parameters(context, path_parameters):
        operation = context.operation
        for name in path_parameters or {}:
            value = seeds.value(operation.path, operation.method.upper(), name)
            if value is not None:
                path_parameters[name] = value
        return path_parameters

    @schemathesis.hook
    def map_case(context, case):
        # A choice of what is offered.
        path, body = context.operation.path, case.body
        is_choice = isinstance(body, dict) and set(body) == {"selectedAccountIds"}
        if context.operation.definition.raw.get("operationId") == "getOAuthUrl" and case.meta.generation.mode.is_positive:
            # These fit some platforms only: most calls go without.
            for name in ("server", "scopes", "appId"):
                if seeds.random.random() < 0.8:
                    (case.query or {}).pop(name, None)
        if is_choice and case.meta.generation.mode.is_positive and path in seeds.kept and seeds.random.random() < 0.5:
            offered = json.loads(fetch(seeds.url + path.replace("{token}", seeds.kept[path]))[2])
            if offered.get("accounts"):
                case.body = {"selectedAccountIds": [offered["accounts"][0]["id"]]}
        return case

    @schemathesis.hook
    def filter_failure(context, failure, case, response):
        """False for a refusal that no schema can state, because it depends on what is stored or on another parameter."""
        if failure.title != "Schema-valid request rejected":
            return True
        if case.operation.definition.raw.get("operationId") in ("finishConnection", "submitConfirmation", "submitLink", "submitSelectionPage"):
            # No connection waits for the invented state, and forms of pages have fields of their own.
            return response.status_code != 400
        try:
            told = json.loads(response.text)
        except ValueError:
            return True
        depends = ("account_not_offered", "app_platform_mismatch", "redirect_not_allowed", "unsafe_host", "invalid_identifier")
        about = ("server ", "scopes ", "platforms ")
        of_names = told.get("code") in ("invalid_parameter", "invalid_request") and told["error"].startswith(about)
        return not (told.get("code") in depends or of_names)


def main():
    with demo() as running, tempfile.TemporaryDirectory() as folder:
        configuration = os.path.join(folder, "schemathesis.toml")
        with open(configuration, "w") as file:
            file.write(CONFIGURATION.format(depends=json.dumps(DEPENDS), refused=json.dumps(REFUSED)))
        command = [
            os.path.join(os.path.dirname(sys.executable), "st"), "--config-file", configuration, "run",
            f"{running.url}/documentation/json", "--url", running.url, "--header", f"x-access-key: {running.key}",
            "--checks", "all", "--max-redirects", "0", "--max-examples", "25", "--suppress-health-check", "filter_too_much", "--continue-on-failure", *sys.argv[2:],
        ]
        environment = os.environ | {
            "SCHEMATHESIS_HOOKS": "document", "PYTHONPATH": HERE, "SEEDS_URL": running.url, "SEEDS_KEY": running.key,
            "NO_PROXY": "127.0.0.1",
        }
        try:
            code = subprocess.run(command, cwd=folder, env=environment, timeout=600).returncode
        except subprocess.TimeoutExpired:
            sys.exit("schemathesis did not end within ten minutes")
    sys.exit(code)


if __name__ == "__main__":
    main()
elif os.environ.get("SEEDS_URL"):
    hooks()

"""Chromium ends where a redirect was allowed: asks a broker for each target of `src/domain/redirect/targets.txt`, and
follows those that it accepts.

Needs Chromium, its driver and selenium, as `connect.py` does. No target is called: every name is unknown to the browser.
Run: .venv/bin/python tests/browser/redirects.py [path to the binary]
"""

import contextlib
import http.server
import os
import re
import shutil
import sys
import tempfile
import threading
import urllib.parse

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "support"))

from broker import broker  # noqa: E402
from demo import ROOT  # noqa: E402

try:
    from selenium import webdriver
    from selenium.common.exceptions import WebDriverException
except ImportError:
    sys.exit("selenium is missing: python3 -m venv .venv && .venv/bin/pip install selenium")

CHROMIUM, DRIVER = shutil.which("chromium"), shutil.which("chromedriver")
if not (CHROMIUM and DRIVER):
    sys.exit("Chromium and its driver are missing: apt-get install chromium chromium-driver")

TWITTER = '[platforms.twitter]\nclient_id = "id"\nclient_secret = "secret"\n'


def parts():
    """The parts of the table: a list of allowed redirects, and pairs of a target and whether it is allowed."""
    found = []
    with open(os.path.join(ROOT, "src", "domain", "redirect", "targets.txt"), encoding="utf-8") as file:
        lines = [line.rstrip("\n") for line in file if line.strip() and not line.startswith("# ")]
    for line in lines:
        verdict, _, target = line.partition(" ")
        target = re.sub(r"\\u\{([0-9a-f]+)\}", lambda code: chr(int(code.group(1), 16)), target)
        if verdict == "list":
            found.append((target.split(), []))
        else:
            found[-1][1].append((target, verdict == "yes"))
    return found


@contextlib.contextmanager
def redirector():
    """A server that redirects to the target in its query, as the broker does. Gives its URL."""

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self):
            target = urllib.parse.parse_qs(urllib.parse.urlsplit(self.path).query).get("to")
            self.send_response(303 if target else 404)
            if target:
                self.send_header("location", target[0])
            self.end_headers()

        def log_message(self, *_):
            pass

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://redirector.test:{server.server_port}", server.server_port
        server.shutdown()


@contextlib.contextmanager
def browser(port):
    with tempfile.TemporaryDirectory() as profile:
        options = webdriver.ChromeOptions()
        options.binary_location = CHROMIUM
        for flag in [
            "--headless=new", "--no-sandbox", "--disable-gpu", "--no-first-run", "--disable-dev-shm-usage",
            "--disable-background-networking", f"--user-data-dir={profile}",
            "--host-resolver-rules=MAP redirector.test 127.0.0.1, MAP * ~NOTFOUND",
        ]:
            options.add_argument(flag)
        driver = webdriver.Chrome(options=options, service=webdriver.ChromeService(DRIVER))
        try:
            yield driver
        finally:
            driver.quit()


def ending(driver, url):
    """Where the browser ends. Nothing answers there."""
    driver.get("about:blank")
    try:
        driver.get(url)
    except WebDriverException as error:
        assert "ERR_NAME_NOT_RESOLVED" in str(error), error
    return urllib.parse.urlsplit(driver.current_url)


def origin(text):
    """Scheme, host and port of a URL, read in the simplest way."""
    found = re.match(r"(https?)://([a-z0-9.:-]+|\[[0-9a-f:]+\](?::\d+)?)(?=[/?]|$)", text, re.IGNORECASE)
    assert found, f"{text!r} was accepted"
    scheme, authority = found.group(1).lower(), found.group(2).lower()
    return scheme, re.sub(":443$" if scheme == "https" else ":80$", "", authority)


def main():
    followed = asked = 0
    with redirector() as (url, port), browser(port) as driver:
        for allowed, targets in parts():
            quoted = ", ".join(f'"{entry}"' for entry in allowed)
            with broker(f"[connect]\nallowed_redirects = [{quoted}]\n{TWITTER}") as running:
                status, made = running.call("POST", "/v1/profiles", {"name": "test"})
                assert status == 201, made
                profile = made["profile"]["id"]
                for target, is_allowed in targets:
                    target = target.replace("prof_1", profile)
                    query = urllib.parse.urlencode({"redirectUri": target, "profileId": profile})
                    status, answer = running.call("GET", f"/v1/connect/twitter?{query}")
                    assert (status == 200) == is_allowed, f"{target!r}: {status} {answer}"
                    assert is_allowed or answer["code"] == "redirect_not_allowed", f"{target!r}: {answer}"
                    asked += 1
                    if not is_allowed or not target.lower().startswith("http"):
                        continue
                    separator = "&" if "?" in target else "?"
                    there = f"{target}{separator}status=success"
                    end = ending(driver, f"{url}/?{urllib.parse.urlencode({'to': there})}")
                    assert (end.scheme, end.netloc) == origin(target), f"{target!r} leads to {end.geturl()}"
                    prefixes = [urllib.parse.urlsplit(entry) for entry in allowed]
                    below = [entry.path.rstrip("/") for entry in prefixes if entry.netloc == end.netloc]
                    assert not allowed or any(end.path == path or end.path.startswith(path + "/") for path in below), (
                        f"{target!r} leads to {end.geturl()}")
                    followed += 1
    print(f"{asked} targets, {followed} followed: Chromium ends where each was allowed")


if __name__ == "__main__":
    main()

"""Starts `postpeer demo` for a test, and walks a person's part of a connection in the sandbox without a browser.

Only Python's standard library. The binary is the first argument of the test, or target/release/postpeer.
"""

import contextlib
import html.parser
import json
import os
import re
import subprocess
import sys
import threading
import urllib.error
import urllib.parse
import urllib.request

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))


def binary():
    path = sys.argv[1] if len(sys.argv) > 1 else os.path.join(ROOT, "target", "release", "postpeer")
    if not os.path.exists(path):
        sys.exit(f"{path} is missing: run `cargo build --release` first, or name the binary as the first argument")
    return path


class Demo:
    """A running demo: its URL and its access key."""

    def __init__(self, process):
        self.process = process
        self.output = ""
        self.url = self.key = None
        ready = threading.Event()

        def read(stream):
            for line in stream:
                self.output += line
                key = re.search(r"ppk_[0-9A-Za-z]{49}", line)
                url = re.search(r"http://127\.0\.0\.1:\d+", line)
                self.key = self.key or (key and key.group())
                # The page to open is the first URL that the demo prints.
                self.url = self.url or (url and url.group())
                if self.key and self.url:
                    ready.set()
            ready.set()

        for stream in (process.stdout, process.stderr):
            threading.Thread(target=read, args=(stream,), daemon=True).start()
        if not ready.wait(60) or not (self.key and self.url):
            process.kill()
            sys.exit(f"the demo did not print a key and a URL:\n{self.output}")


@contextlib.contextmanager
def demo():
    process = subprocess.Popen(
        [binary(), "demo", "--listen", "127.0.0.1:0"], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    try:
        yield Demo(process)
    finally:
        process.terminate()
        code = process.wait(30)
    assert code == 0, f"the demo stopped with exit code {code}"


class Form(html.parser.HTMLParser):
    """The fields of a page's form that are filled in already, with the first of each group of radio buttons."""

    def __init__(self):
        super().__init__()
        self.action, self.fields = None, []

    def handle_starttag(self, tag, attributes):
        attributes = dict(attributes)
        if tag == "form":
            self.action = attributes.get("action", "")
        if tag != "input" or "name" not in attributes:
            return
        kind = attributes.get("type", "text")
        if kind == "hidden" or (kind in ("radio", "checkbox") and "checked" in attributes):
            self.fields.append((attributes["name"], attributes.get("value", "")))


class _Choices(html.parser.HTMLParser):
    """The accounts of the selection page: the name that is shown to the id that is sent."""

    def __init__(self):
        super().__init__()
        self.ids, self.id, self.in_name = {}, None, False

    def handle_starttag(self, tag, attributes):
        attributes = dict(attributes)
        if tag == "input" and attributes.get("name") == "account" and attributes.get("type") == "checkbox":
            self.id = attributes["value"]
        self.in_name = tag == "bdi"

    def handle_endtag(self, tag):
        self.in_name = False

    def handle_data(self, data):
        # The name is the first of an account's texts that is isolated; its handle may follow.
        if self.in_name and self.id is not None:
            self.ids[data], self.id = self.id, None


class NoRedirect(urllib.request.HTTPRedirectHandler):
    def redirect_request(self, *_):
        return None


_opener = urllib.request.build_opener(NoRedirect, urllib.request.ProxyHandler({}))


def fetch(url, data=None, headers=None, method=None, body=None, opener=_opener):
    """Status, headers and text of a call with a form or any other body; redirects are not followed."""
    body = urllib.parse.urlencode(data).encode() if data is not None else body
    request = urllib.request.Request(url, data=body, headers=headers or {}, method=method)
    try:
        with opener.open(request, timeout=30) as response:
            return response.status, response.headers, response.read().decode()
    except urllib.error.HTTPError as error:
        return error.code, error.headers, error.read().decode()


def authorize_url(running, platform, **parameters):
    """Where a connection begins, with these parameters of the API."""
    asked = urllib.parse.urlencode(parameters)
    status, _, body = fetch(f"{running.url}/v1/connect/{platform}?{asked}", headers={"x-access-key": running.key})
    assert status == 200, f"{platform}: {status}\n{body}"
    return json.loads(body)["url"]


def consent(authorize_url, decision="allow", **overrides):
    """What a person does on the consent page. Returns the callback URL that the browser would go to."""
    status, _, page = fetch(authorize_url)
    assert status == 200, f"consent page: {status}\n{page}"
    form = Form()
    form.feed(page)
    fields = [(name, value) for name, value in form.fields if name not in overrides and name != "decision"]
    fields += [("decision", decision), *overrides.items()]
    status, headers, page = fetch(urllib.parse.urljoin(authorize_url, form.action), fields)
    assert status in (302, 303), f"consent: {status}\n{page}"
    return headers["Location"]


def walk(authorize_url, decision="allow", **overrides):
    """Consents and follows the callback. Returns status, headers and text of what the broker shows or where it sends."""
    return fetch(consent(authorize_url, decision, **overrides))


def choose(page_url, names, action="connect"):
    """What a person does on the broker's page for choosing accounts, by the names there. Like `walk`."""
    status, _, page = fetch(page_url)
    assert status == 200, f"selection page: {status}\n{page}"
    choices = _Choices()
    choices.feed(page)
    fields = [("account", choices.ids[name]) for name in names] + [("action", action)]
    return fetch(page_url, fields, {"Sec-Fetch-Site": "same-origin"})


def query(url):
    """The query of a URL as a dictionary."""
    return dict(urllib.parse.parse_qsl(urllib.parse.urlsplit(url).query))


def post_json(url, body):
    request = urllib.request.Request(url, data=json.dumps(body).encode(), headers={"Content-Type": "application/json"})
    with _opener.open(request, timeout=30) as response:
        return response.status

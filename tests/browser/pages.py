"""Chromium looks at every page in every language, theme and width: axe-core finds nothing, nothing is wider than the window
or asks another host, no Tab stop hides behind a bar, and no page is heavy.

Needs what connect.py needs, and axe-core (npm ci in tests/browser).
Run: .venv/bin/python tests/browser/pages.py [path to the binary] [folder for screenshots]
"""

import contextlib
import itertools
import json
import os
import sys
import tempfile
import urllib.parse

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, os.path.join(HERE, "..", "support"))

from broker import PUBLIC_URL, broker  # noqa: E402
from chromium import By, Keys, browser, press, shot_whole, wait  # noqa: E402
from demo import authorize_url, choose, consent, demo, fetch, walk  # noqa: E402

AXE = os.path.join(HERE, "node_modules", "axe-core", "axe.min.js")
if not os.path.exists(AXE):
    sys.exit(f"{AXE} is missing: run `npm ci` in tests/browser")
with open(AXE) as file:
    AXE = file.read()

SHOTS = sys.argv[2] if len(sys.argv) > 2 else None
LANGUAGES, THEMES, WIDTHS = ("en", "de"), ("light", "dark"), (320, 1280)
# Bytes of a page with its styles; each row of a list may add 300.
PAGE, ROW, CONSOLE, DOCUMENTATION = 25_000, 300, 40_000, 150_000

LOGO = '<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 64 32"><script>window.__x = 1</script>' \
       '<rect width="64" height="32" rx="6" fill="#8a1f5c"/></svg>'
IDENTITY = """
[pages]
app_name = "Marlow & Daughters"
logo_file = "logo.svg"
accent = "#8a1f5c"
home_url = "https://marlow.example/"
support_url = "https://marlow.example/help"
privacy_url = "https://marlow.example/privacy"
"""

CONFIRM = """
[connect]
confirm = true
[platforms.twitter]
client_id = "client"
client_secret = "secret"
"""

AUDIT = """
const done = arguments[arguments.length - 1];
axe.run(document, {rules: {"target-size": {enabled: true}}, resultTypes: ["violations"]}).then(
  found => done(found.violations.map(v => v.id + ": " + v.help + "\\n" + v.nodes.map(n => "  " + n.html).join("\\n"))),
  error => done([String(error)]));
"""

# The words of buttons beside each other that are broken within the word.
BROKEN = r"""
const broken = [];
for (const button of document.querySelectorAll(".actions button")) {
  const texts = document.createTreeWalker(button, NodeFilter.SHOW_TEXT);
  while (texts.nextNode()) for (const word of texts.currentNode.data.matchAll(/\S+/g)) {
    const range = new Range();
    range.setStart(texts.currentNode, word.index);
    range.setEnd(texts.currentNode, word.index + word[0].length);
    if (range.getClientRects().length > 1) broken.push(word[0]);
  }
}
return broken;
"""


class Looker:
    def __init__(self, driver):
        self.driver, self.seen = driver, 0
        driver.get("about:blank")
        # What the browser asked for on its own start.
        driver.get_log("performance")

    def look(self, name, url, rows=0, limit=PAGE, scripts=0):
        """Every language, theme and width of a page that can be had with GET."""
        status, headers, text = fetch(url)
        assert "text/html" in headers["Content-Type"], f"{name}: {status} {headers['Content-Type']}"
        self.driver.get_log("performance")
        weight = len(text.encode())
        assert weight <= limit + ROW * rows, f"{name} weighs {weight} bytes"
        for language, theme in itertools.product(LANGUAGES, THEMES):
            self.dress(theme)
            for width in WIDTHS:
                self.resize(width)
                self.driver.get(with_language(url, language))
                self.check(f"{name}-{language}-{theme}-{width}", scripts)
        print(f"{name}: {weight} bytes")

    def dress(self, theme):
        self.driver.execute_cdp_cmd(
            "Emulation.setEmulatedMedia", {"features": [{"name": "prefers-color-scheme", "value": theme}]})

    def resize(self, width, height=900):
        self.driver.execute_cdp_cmd(
            "Emulation.setDeviceMetricsOverride",
            {"width": width, "height": height, "deviceScaleFactor": 1, "mobile": False})

    def check(self, name, scripts=0):
        """The page that is shown, with so many scripts."""
        driver = self.driver
        if SHOTS:
            shot_whole(driver, os.path.join(SHOTS, f"{name}.png"))
        wide = driver.execute_script("return document.documentElement.scrollWidth - document.documentElement.clientWidth")
        assert wide <= 0, f"{name}: {wide} pixels wider than the window"
        broken = driver.execute_script(BROKEN)
        assert not broken, f"{name}: {broken}"
        if not driver.execute_script("return typeof axe === 'object'"):
            driver.execute_script(AXE + "; window.axe = axe;")
        found = driver.execute_async_script(AUDIT)
        assert not found, f"{name}\n" + "\n".join(found)
        assert driver.execute_script("return window.__x") is None, f"{name}: something ran"
        assert len(driver.find_elements(By.TAG_NAME, "script")) == scripts, f"{name}: a script"
        self.check_requests(name)
        blocked = [entry for entry in driver.get_log("browser") if "Content Security Policy" in entry["message"]]
        assert not blocked, f"{name}: {blocked}"
        self.seen += 1

    def check_requests(self, name):
        host = urllib.parse.urlsplit(self.driver.current_url).netloc
        for entry in self.driver.get_log("performance"):
            message = json.loads(entry["message"])["message"]
            if message["method"] == "Network.requestWillBeSent":
                url = message["params"]["request"]["url"]
                assert urllib.parse.urlsplit(url).netloc in (host, "") or url.startswith("data:"), f"{name} asks {url}"

    def tab_through(self, name, stops):
        """Every Tab stop can be seen: nothing lies over it."""
        hidden = """
            const e = document.activeElement, shown = e.labels && e.labels[0] ? e.labels[0] : e;
            const box = shown.getBoundingClientRect(), x = box.left + Math.min(box.width / 2, 40);
            const on = (y) => { const top = document.elementFromPoint(x, y); return top && (shown.contains(top) || top.contains(shown) || top === e); };
            return [box.top >= 0 && box.bottom <= innerHeight && on(box.top + 2) && on(box.bottom - 2), shown.outerHTML.slice(0, 80)];
        """
        for _ in range(stops):
            self.driver.switch_to.active_element.send_keys(Keys.TAB)
            is_seen, element = self.driver.execute_script(hidden)
            assert is_seen, f"{name}: the focus is hidden: {element}"


def with_language(url, language):
    return f"{url}{'&' if '?' in url else '?'}lang={language}"


def result(running, platform, **answer):
    """The page at the end of a connection without a redirect."""
    status, headers, page = walk(authorize_url(running, platform), **answer)
    assert status == 303, f"{platform}: {status}\n{page}"
    return urllib.parse.urljoin(running.url, headers["Location"])


def selection(running, platform, account):
    callback = consent(authorize_url(running, platform), account=account)
    _, headers, _ = fetch(callback)
    return headers["Location"].split("#")[0]


def fail_next(running, platform, step, fault):
    sandbox = urllib.parse.urlsplit(authorize_url(running, platform))
    body = json.dumps({"platform": platform, "step": step, "fault": fault}).encode()
    status, _, text = fetch(f"{sandbox.scheme}://{sandbox.netloc}/_control/faults", body=body, method="POST",
                            headers={"Content-Type": "application/json"})
    assert status < 300, text


def look_at_endings(looker, running):
    looker.look("success", result(running, "youtube"))
    looker.look("denied", result(running, "tiktok", decision="deny"))
    _, headers, _ = fetch(consent(authorize_url(running, "pinterest", completion="true")))
    looker.look("completion", urllib.parse.urljoin(running.url, headers["Location"]))
    fail_next(running, "twitter", "token", "500")
    failed = result(running, "twitter")
    looker.look("failed", failed)
    looker.look("refused", f"{running.url}/v1/connect/twitter/callback?state=unknown&code=1")
    looker.look("gone", f"{running.url}/connect/result/none")
    driver = looker.driver
    driver.get(failed)
    press(driver, "a[href$='/retry']")
    wait(driver, "the platform again", lambda: "/twitter/" in driver.current_url)
    press(driver, "[name=decision][value=allow]")
    wait(driver, "the result", lambda: "/connect/result/" in driver.current_url)
    assert "code=" not in driver.current_url and "state=" not in driver.current_url, driver.current_url
    press(driver, "a[hreflang=de]")
    wait(driver, "German", lambda: driver.find_element(By.CSS_SELECTOR, "html[lang=de]"))
    assert "verbunden" in driver.find_element(By.TAG_NAME, "h1").text


def look_at_sandbox(looker, running):
    consent_page = authorize_url(running, "twitter")
    for name, url in [
        ("sandbox-consent", consent_page),
        ("sandbox-refused", consent_page.replace("client_id=", "client_id=no")),
        ("sandbox", urllib.parse.urljoin(consent_page, "/")),
    ]:
        looker.driver.get(url)
        looker.driver.get_log("performance")
        looker.check(name)


def look_at_choices(looker, running):
    driver = looker.driver
    few = selection(running, "facebook", "ada")
    looker.look("selection", few, rows=3)
    looker.look("selection-locations", selection(running, "googlebusiness", "ada"), rows=5)
    looker.resize(320)
    driver.get(few)
    button = driver.find_element(By.CSS_SELECTOR, "button[value=connect]")
    boxes = driver.find_elements(By.CSS_SELECTOR, "[type=checkbox]")
    told = []
    for box in boxes:
        told.append(button.accessible_name)
        driver.execute_script("arguments[0].click()", box)
    told.append(button.accessible_name)
    # The number between the words is a CSS counter, which the driver does not read.
    assert [" ".join(name.split()) for name in told] == [
        "Connect the ticked accounts", "Connect account", "Connect accounts", "Connect accounts"], told
    looker.check("selection-ticked")
    press(driver, "button[form=choose]")
    wait(driver, "German", lambda: driver.find_element(By.CSS_SELECTOR, "html[lang=de]"))
    assert len(driver.find_elements(By.CSS_SELECTOR, "[type=checkbox]:checked")) == 3, "the ticks are kept"
    press(driver, "button[value=none]")
    wait(driver, "no ticks", lambda: not driver.find_elements(By.CSS_SELECTOR, "[type=checkbox]:checked"))
    press(driver, "button[value=connect]")
    wait(driver, "an alert", lambda: driver.find_element(By.CSS_SELECTOR, "[role=alert]"))
    looker.check("selection-alert")
    press(driver, "button[value=cancel]")
    wait(driver, "cancelled", lambda: "/connect/result/" in driver.current_url)
    looker.look("cancelled-here", driver.current_url.split("?")[0])
    looker.look("choice-gone", few)

    many = selection(running, "facebook", "agency")
    looker.look("selection-250", many, rows=250)
    for width, height in [(320, 700), (320, 256)]:
        looker.resize(width, height)
        driver.get(many)
        looker.tab_through(f"250 accounts at {width} by {height}", 30)
    press(driver, "button[value=all]")
    wait(driver, "all ticked", lambda: len(driver.find_elements(By.CSS_SELECTOR, "[type=checkbox]:checked")) == 250)
    driver.get(running.url + "/")
    driver.back()
    wait(driver, "still ticked", lambda: len(driver.find_elements(By.CSS_SELECTOR, "[type=checkbox]:checked")) == 250)
    assert choose(many, [], action="cancel")[0] == 303


def api(running, method, path, body=None):
    body = body and json.dumps(body).encode()
    headers = {"x-access-key": running.key, "Content-Type": "application/json"}
    status, _, answer = fetch(running.url + path, body=body, method=method, headers=headers)
    assert status < 300, f"{method} {path}: {status}\n{answer}"
    return json.loads(answer)


def look_at_links(looker, running):
    driver = looker.driver
    profile = api(running, "POST", "/v1/profiles/", {"name": "Team A"})["profile"]["id"]
    everything = api(running, "POST", "/v1/connect/links", {"profileId": profile})["link"]
    looker.look("link-everything", everything["url"], rows=2)
    link = api(running, "POST", "/v1/connect/links",
               {"profileId": profile, "platforms": ["twitter", "facebook", "bluesky"]})["link"]
    looker.look("link", link["url"])
    looker.look("link-left", link["url"] + "?done=1")
    for platform in ["twitter", "facebook"]:
        driver.get(link["url"])
        press(driver, f"button[name=connect][value={platform}]")
        press(driver, "button[value=allow]")
        if platform == "facebook":
            press(driver, "[type=checkbox] + label")
            press(driver, "button[value=connect]")
        wait(driver, "back on the link's page", lambda: link["url"] in driver.current_url)
        # Meta's platforms leave a fragment.
        looker.look(f"link-{platform}", driver.current_url.split("#")[0])
    driver.get(link["url"])
    press(driver, "button[value=facebook]")
    press(driver, "button[value=deny]")
    wait(driver, "back on the link's page", lambda: "result=" in driver.current_url)
    looker.look("link-denied", driver.current_url.split("#")[0])
    for width in WIDTHS:
        looker.resize(width)
        driver.get(link["url"])
        driver.find_element(By.NAME, "identifier").send_keys("ada.test")
        driver.find_element(By.NAME, "password").send_keys("wrong")
        press(driver, "button[value=bluesky]")
        wait(driver, "an alert", lambda: driver.find_element(By.CSS_SELECTOR, "[role=alert]"))
        assert not driver.find_element(By.NAME, "password").get_attribute("value"), "the password came back"
        looker.check(f"link-mistyped-{width}")
    press(driver, "button[value=done]")
    wait(driver, "the last page", lambda: "done=" in driver.current_url)
    looker.look("link-done", driver.current_url)
    api(running, "DELETE", f"/v1/connect/links/{link['id']}")
    looker.look("link-revoked", link["url"])


def look_at_demo(looker, running):
    driver = looker.driver
    looker.look("demo", running.url + "/", rows=10)
    account = driver.find_element(By.CSS_SELECTOR, "a[href^='/demo/accounts/']").get_attribute("href").split("?")[0]
    looker.look("details", account)
    for button, name in [("token", "token"), ("disconnect", "disconnected")]:
        driver.get(running.url + "/")
        press(driver, f"button[formaction^='/demo/{button}/']")
        wait(driver, name, lambda: f"/demo/{button}/" in driver.current_url or f"status={name}" in driver.current_url)
        looker.check(name)
    # A second press of the button, while the answer to the first one is on its way.
    status, headers, _ = fetch(running.url + "/demo/disconnect/" + account.rsplit("/", 1)[1], method="POST")
    assert status == 303 and "status=disconnected" in headers["Location"], status
    for code in ["no_account", "app_password_required"]:
        looker.look(f"demo-{code}", f"{running.url}/?status=error&platform=bluesky&error={code}", rows=10)


def look_at_documentation(looker, running):
    driver, url = looker.driver, running.url + "/documentation"
    looker.look("documentation", url, limit=DOCUMENTATION, scripts=1)

    driver.get(url)
    driver.find_element(By.TAG_NAME, "body").send_keys("/")
    field = driver.switch_to.active_element
    assert field.get_attribute("id") == "find" and field.get_attribute("value") == "", "/ goes to the search"
    field.send_keys("minseconds")
    found = [link.text for link in driver.find_elements(By.CSS_SELECTOR, ".side ul ul a") if link.is_displayed()]
    assert found == ["GET Get an access token of a connected account"], found
    looker.check("documentation-search", scripts=1)
    field.send_keys(Keys.ENTER)
    wait(driver, "the operation", lambda: driver.current_url.endswith("#getToken"))
    field.send_keys(Keys.ESCAPE)

    driver.find_element(By.ID, "key").send_keys(running.key)
    for width in WIDTHS:
        looker.resize(width)
        answer = call(driver, "listProfiles", limit="2")
        assert answer.startswith("200") and '"profiles"' in answer, answer
        answer = call(driver, "createProfile", Body=json.dumps({"name": f"Made at {width}"}))
        assert answer.startswith("201") and f"Made at {width}" in answer, answer
        answer = call(driver, "getOAuthUrl", platform="twitter")
        assert answer.startswith("200") and "Open this URL" in answer, answer
        answer = call(driver, "getProfile", id="a/b?c")
        assert answer.startswith("404") and "profile_not_found" in answer, answer
        looker.check(f"documentation-tried-{width}", scripts=1)
    here = [link.get_attribute("hash") for link in driver.find_elements(By.CSS_SELECTOR, ".side [aria-current=location]")]
    assert here == ["#getToken"], here
    kept = driver.execute_script(
        "return [document.cookie, location.href, document.documentElement.outerHTML, ...Object.values(localStorage),"
        " ...Object.values(sessionStorage)].join('\\n')")
    assert running.key not in kept, "the key is kept"
    answers = "return [...document.querySelectorAll('output')].map(output => output.textContent).join('')"
    assert driver.execute_script(answers), "answers are shown"
    assert not driver.execute_script("dispatchEvent(new Event('pagehide'));" + answers), "answers outlive the page"
    driver.refresh()
    assert driver.find_element(By.ID, "key").get_attribute("value") == "", "the key outlives the page"
    answer = call(driver, "listProfiles")
    assert answer.startswith("401") and "top of the page" in answer, answer

    with tempfile.TemporaryDirectory() as profile, contextlib.ExitStack() as stack:
        plain = browser(profile, script=False)
        stack.callback(plain.quit)
        plain.get(url + "#getToken")
        assert not plain.find_element(By.ID, "find").is_displayed(), "a search that does nothing"
        assert plain.find_element(By.CSS_SELECTOR, "#getToken pre").is_displayed()


def call(driver, operation, **fields):
    """Tries an operation, and returns what the page shows of the answer."""
    article = driver.find_element(By.ID, operation)
    details = article.find_element(By.XPATH, ".//details[summary='Try it']")
    if not details.get_attribute("open"):
        driver.execute_script("arguments[0].scrollIntoView()", details)
        details.find_element(By.TAG_NAME, "summary").click()
    form = wait(driver, "the form", lambda: details.find_elements(By.TAG_NAME, "form"))[0]
    for label in form.find_elements(By.TAG_NAME, "label"):
        element = driver.find_element(By.ID, label.get_attribute("for"))
        if label.text in fields:
            element.clear()
            element.send_keys(fields.pop(label.text))
    assert not fields, f"{operation} has no {list(fields)}"
    output = form.find_element(By.TAG_NAME, "output")
    driver.execute_script("arguments[0].replaceChildren()", output)
    driver.execute_script("arguments[0].click()", form.find_element(By.TAG_NAME, "button"))
    wait(driver, "the answer", lambda: output.text and "Waiting" not in output.text)
    return output.text


def look_at_confirmation(looker):
    with broker(IDENTITY + CONFIRM, {"logo.svg": LOGO}) as own:
        _, made = own.call("POST", "/v1/profiles", {"name": "Team A"})
        _, begun = own.call("GET", f"/v1/connect/twitter?profileId={made['profile']['id']}")
        looker.look("confirmation", begun["url"].replace(PUBLIC_URL, own.url))


def look_at_identity(looker):
    with broker(IDENTITY, {"logo.svg": LOGO}) as own:
        looker.look("identity", f"{own.url}/v1/connect/twitter/callback?state=unknown")
        driver = looker.driver
        logo = driver.find_element(By.CSS_SELECTOR, ".who img")
        assert driver.execute_script("return arguments[0].naturalWidth", logo) > 0, "the logo is not shown"
        assert driver.find_element(By.CSS_SELECTOR, ".who a").get_attribute("href") == "https://marlow.example/"
        driver.get(logo.get_attribute("src"))
        assert driver.execute_script("return window.__x") is None, "the logo's script ran"
    hostile = json.dumps("<img src=x onerror=window.__x=1>")
    with broker(f"[pages]\napp_name = {hostile}\n") as own:
        driver.get_log("performance")
        driver.get(f"{own.url}/v1/connect/twitter/callback?state=unknown")
        assert "onerror" in driver.title, driver.title
        looker.check("a hostile name")


def look_at_console(looker, running):
    driver, console = looker.driver, running.url + "/console"
    looker.look("console-sign-in", console + "/sign-in", limit=CONSOLE)
    result(running, "twitter")
    driver.get(console)
    wait(driver, "the sign-in", lambda: "/sign-in" in driver.current_url)
    driver.find_element(By.NAME, "key").send_keys("ppk_wrong")
    press(driver, "main button")
    wait(driver, "an alert", lambda: driver.find_elements(By.CSS_SELECTOR, "[role=alert]"))
    looker.check("console-wrong-key")
    driver.find_element(By.NAME, "key").send_keys(running.key)
    press(driver, "main button")
    wait(driver, "the overview", lambda: driver.current_url.endswith("/console"))
    call_api(running, "POST", "/v1/profiles", {"name": "Team A", "description": "A brand"})
    call_api(running, "POST", "/v1/apps",
             {"platform": "twitter", "name": "Own", "clientId": "client", "clientSecret": "secret"})
    account = call_api(running, "GET", "/v1/connect/integrations")["integrations"][0]["id"]
    # One account fails after a refresh, and one works. A token is refreshed for whoever asks once it is a second old.
    token, key = f"{running.url}/v1/connect/integrations/{account}/token?minSeconds=7199", {"x-access-key": running.key}
    driver.get(f"{console}/accounts/{account}")
    shown = "table .status.good"
    wait(driver, "a refresh", lambda: fetch(token, headers=key) and driver.refresh() is None and find(driver, shown))
    fail_next(running, "twitter", "refresh", "revoked")
    wait(driver, "a refresh that is refused", lambda: fetch(token, headers=key)[0] == 422)
    result(running, "pinterest")
    pages = {"home": "", "accounts": "/accounts", "account": f"/accounts/{account}", "profiles": "/profiles", "apps": "/apps",
             "keys": "/keys", "platforms": "/platforms", "audit": "/audit", "gone": "/accounts/none"}
    for name, path in pages.items():
        for language, theme, width in itertools.product(LANGUAGES, THEMES, WIDTHS):
            looker.dress(theme)
            looker.resize(width)
            driver.get(with_language(console + path, language))
            for summary in driver.find_elements(By.CSS_SELECTOR, "main details:not([open]) > summary"):
                if summary.is_displayed():
                    driver.execute_script("arguments[0].parentNode.open = true", summary)
            looker.check(f"console-{name}-{language}-{theme}-{width}")
        weight = len(driver.page_source.encode())
        assert weight <= CONSOLE + ROW * len(driver.find_elements(By.TAG_NAME, "li")), f"{name} weighs {weight} bytes"
        print(f"console {name}: {weight} bytes")
    for language in LANGUAGES:
        driver.get(with_language(console + "/keys", language))
        driver.find_element(By.NAME, "name").send_keys("typed once")
        driver.find_element(By.NAME, "expires").send_keys("soon")
        press(driver, "form[action*='/console/keys?'] > button")
        wait(driver, "the form again", lambda: find(driver, "[role=alert]"))
        assert driver.find_element(By.NAME, "name").get_attribute("value") == "typed once"
        for theme, width in itertools.product(THEMES, WIDTHS):
            looker.dress(theme)
            looker.resize(width)
            looker.check(f"console-returned-{language}-{theme}-{width}")
    looker.resize(320)
    driver.get(console + pages["account"])
    looker.tab_through("the console at 320", 12)
    press(driver, f"form[action$='/accounts/{account}/reconnect'] button")
    wait(driver, "the link", lambda: driver.find_elements(By.CSS_SELECTOR, "pre"))
    looker.check("console-reconnect")
    driver.get(console + "/keys")
    driver.find_element(By.NAME, "name").send_keys("made here")
    press(driver, "input[name=scope][value=read]")
    press(driver, "form[action$='/console/keys'] > button")
    wait(driver, "the key", lambda: driver.find_elements(By.CSS_SELECTOR, "pre"))
    looker.check("console-key-made")
    press(driver, ".bar button")
    wait(driver, "signed out", lambda: "/sign-in" in driver.current_url)


def find(driver, selector):
    return driver.find_elements(By.CSS_SELECTOR, selector)


def call_api(running, method, path, body=None):
    headers = {"x-access-key": running.key, "Content-Type": "application/json"}
    status, _, text = fetch(running.url + path, body=body and json.dumps(body).encode(), method=method, headers=headers)
    assert status < 300, text
    return json.loads(text)


with demo() as running, tempfile.TemporaryDirectory() as profile, contextlib.ExitStack() as stack:
    driver = browser(profile, log_requests=True)
    stack.callback(driver.quit)
    looker = Looker(driver)
    look_at_identity(looker)
    look_at_confirmation(looker)
    look_at_endings(looker, running)
    look_at_sandbox(looker, running)
    look_at_choices(looker, running)
    look_at_links(looker, running)
    look_at_demo(looker, running)
    look_at_console(looker, running)
    look_at_documentation(looker, running)
print(f"{looker.seen} looks at the pages, and axe-core found nothing")

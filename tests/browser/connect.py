"""Chromium walks a whole connection in the sandbox, from the demo's page and back, and looks at what it is shown.

Needs Chromium and its driver (apt-get install chromium chromium-driver) and selenium (pip install selenium).
Run: .venv/bin/python tests/browser/connect.py [path to the binary] [folder for screenshots]
"""

import contextlib
import http.server
import json
import os
import sys
import tempfile
import threading
import urllib.request

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "support"))

import chromium  # noqa: E402
from chromium import WIDTH, By, Keys, browser, press, text, wait  # noqa: E402
from demo import authorize_url, demo, fetch, query  # noqa: E402

SHOTS = sys.argv[2] if len(sys.argv) > 2 else tempfile.mkdtemp(prefix="postpeer-screens-")


def shot(driver, name):
    chromium.shot(driver, os.path.join(SHOTS, f"{name}.png"))


def shot_whole(driver, name):
    chromium.shot_whole(driver, os.path.join(SHOTS, f"{name}.png"))


def press_tab_until(driver, matches):
    """Moves the focus by keyboard alone to the element that matches, and returns it."""
    for _ in range(80):
        driver.switch_to.active_element.send_keys(Keys.TAB)
        if matches(driver.switch_to.active_element):
            return driver.switch_to.active_element
    raise AssertionError(f"the keyboard never reached it\n{text(driver)}")


def connect_by_keyboard(driver, running):
    driver.get(running.url + "/")
    shot(driver, "1-demo")
    press_tab_until(driver, lambda e: e.tag_name == "button" and "/demo/connect/twitter" in (
        e.find_element(By.XPATH, "ancestor::form").get_attribute("action") or "")).send_keys(Keys.ENTER)
    wait(driver, "the sandbox's consent page", lambda: "/twitter/" in driver.current_url)
    check_page(driver, "consent page")
    assert "sandbox" in text(driver).lower(), "the consent page says that it is an imitation"
    shot(driver, "2-consent")
    press_tab_until(driver, lambda e: e.get_attribute("value") == "allow").send_keys(Keys.ENTER)
    wait(driver, "back on the demo's page", lambda: driver.current_url.startswith(running.url + "/?"))
    assert "status=success" in driver.current_url, driver.current_url
    shot(driver, "3-connected")
    check_page(driver, "demo page after a connection")


class App(http.server.BaseHTTPRequestHandler):
    """The app that asked for a connection, on an origin of its own."""

    def do_GET(self):
        if self.path.startswith("/onward"):
            # To another origin, as apps do.
            self.send_response(302)
            self.send_header("Location", f"http://localhost:{self.server.server_port}/connected")
            self.end_headers()
            return
        page = b"<!doctype html><title>App</title><h1>The app</h1>"
        self.send_response(200)
        self.send_header("Content-Type", "text/html; charset=utf-8")
        self.send_header("Content-Length", str(len(page)))
        self.end_headers()
        if self.path.startswith("/connected"):
            self.server.arrivals.append((self.path, self.headers.get("Referer")))
        self.wfile.write(page)

    def log_message(self, *_):
        pass


@contextlib.contextmanager
def app():
    """Serves the app: its server, with the `url` to come back to and the `arrivals` there."""
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), App) as server:
        server.arrivals = []
        server.origin = f"http://127.0.0.1:{server.server_port}"
        server.url = f"{server.origin}/connected?nonce=%2F1"
        threading.Thread(target=server.serve_forever, daemon=True).start()
        try:
            yield server
        finally:
            server.shutdown()


def choose_pages(driver, running, app, name):
    """Two of three Facebook Pages, on the broker's page, for an app of another origin."""
    connected = len(app.arrivals)
    driver.get(authorize_url(running, "facebook", redirectUri=app.url))
    press(driver, "[name=account][value=ada]")
    press(driver, "[name=decision][value=allow]")
    wait(driver, "the selection page", lambda: driver.current_url.startswith(f"{running.url}/connect/selection/"))
    boxes = "[type=checkbox][name=account]"
    wait(driver, "three Pages", lambda: len(driver.find_elements(By.CSS_SELECTOR, boxes)) == 3)
    assert not driver.find_elements(By.CSS_SELECTOR, boxes + ":checked"), "nothing is ticked beforehand"
    shown = text(driver)
    assert all(page in shown for page in ["Facebook", "Marlow & Daughters", "Harbour Lights", "Riverside Market"]), shown
    shot(driver, f"{name}-selection")
    check_page(driver, "selection page")

    press(driver, "[name=action][value=connect]")
    wait(driver, "the page says that something must be ticked", lambda: driver.find_element(By.CSS_SELECTOR, "[role=alert]"))
    shot(driver, f"{name}-selection-nothing-ticked")
    check_page(driver, "selection page with nothing ticked")
    press(driver, "[name=action][value=all]")
    wait(driver, "all are ticked", lambda: len(driver.find_elements(By.CSS_SELECTOR, boxes + ":checked")) == 3)
    # By the label, as people do: the box is but a part of it.
    press_label(driver, "Harbour Lights")
    wait(driver, "two are ticked", lambda: len(driver.find_elements(By.CSS_SELECTOR, boxes + ":checked")) == 2)
    press(driver, "details.missing summary")
    wait(driver, "what was found", lambda: driver.find_element(By.CSS_SELECTOR, "details.missing").get_attribute("open"))
    shot(driver, f"{name}-selection-ticked")
    shot_whole(driver, f"{name}-selection-whole")
    check_page(driver, "selection page with two ticked")
    choosing = driver.current_url

    press(driver, "[name=action][value=connect]")
    wait(driver, "the app of another origin", lambda: driver.current_url.startswith(app.url + "&"))
    told = query(driver.current_url)
    assert told["status"] == "success" and told["platform"] == "facebook" and told["nonce"] == "/1", told
    assert len(told["integrationId"].split(",")) == 2, told
    arrivals = app.arrivals[connected:]
    assert len(arrivals) == 1, arrivals
    assert "/connect/selection/" not in (arrivals[0][1] or ""), f"the address of the choice is told on: {arrivals}"
    names = []
    for identity in told["integrationId"].split(","):
        request = urllib.request.Request(
            f"{running.url}/v1/connect/integrations/{identity}", headers={"x-access-key": running.key})
        with urllib.request.urlopen(request, timeout=30) as response:
            names.append(json.load(response)["integration"]["displayName"])
    assert names == ["Marlow & Daughters", "Riverside Market"], names

    driver.get(choosing)
    wait(driver, "a page that says that it is over", lambda: not driver.find_elements(By.CSS_SELECTOR, boxes))
    check_page(driver, "selection page afterwards")
    shot(driver, f"{name}-selection-afterwards")


def through_an_app_that_redirects(driver, running, app):
    """The app's page redirects on to another origin, after a choice and after a cancellation."""
    for action in ["connect", "cancel"]:
        driver.get(authorize_url(running, "facebook", redirectUri=f"{app.origin}/onward"))
        press(driver, "[name=account][value=ada]")
        press(driver, "[name=decision][value=allow]")
        wait(driver, "the selection page", lambda: "/connect/selection/" in driver.current_url)
        press_label(driver, "Harbour Lights")
        press(driver, f"[name=action][value={action}]")
        wait(driver, f"where the app leads after {action}", lambda: driver.current_url.startswith("http://localhost:"))


def in_a_popup(driver, running, app):
    """The app's page and its popup know each other, at the choice of accounts and at the end."""
    driver.get(app.origin)
    own = driver.current_window_handle
    url = authorize_url(running, "facebook", redirectUri=app.url)
    driver.execute_script("window.popup = open(arguments[0], 'connect', 'width=500,height=700')", url)
    wait(driver, "the popup", lambda: len(driver.window_handles) == 2)
    popup = next(handle for handle in driver.window_handles if handle != own)

    def check(where):
        assert driver.execute_script("return opener !== null"), f"{where}: the opener is gone"
        driver.switch_to.window(own)
        assert not driver.execute_script("return popup.closed"), f"{where}: the popup looks closed"
        driver.switch_to.window(popup)

    driver.switch_to.window(popup)
    press(driver, "[name=account][value=ada]")
    press(driver, "[name=decision][value=allow]")
    wait(driver, "the selection page", lambda: "/connect/selection/" in driver.current_url)
    check("selection page")
    press_label(driver, "Harbour Lights")
    press(driver, "[name=action][value=connect]")
    wait(driver, "the app", lambda: driver.current_url.startswith(app.url + "&"))
    check("the app's page")
    driver.close()
    driver.switch_to.window(own)


def press_label(driver, name):
    """Clicks the name of an account to choose."""
    wait(driver, name, lambda: driver.find_element(By.XPATH, f"//label[contains(., '{name}')]/bdi")).click()


def connect_bluesky(driver, running, name):
    """The demo page's form: a wrong app password, then the one that the page tells."""
    for password, outcome in [("wrong", "error=bluesky_credentials_rejected"), (None, "status=success")]:
        driver.get(running.url + "/")
        form = 'form[action="/demo/bluesky"] '
        field = wait(driver, "Bluesky's form", lambda: driver.find_element(By.CSS_SELECTOR, form + "[name=password]"))
        handle = driver.find_element(By.CSS_SELECTOR, form + "[name=identifier]").get_attribute("value")
        if password:
            field.clear()
            field.send_keys(password)
        press(driver, form + "button")
        wait(driver, outcome, lambda: outcome in driver.current_url)
        notice = wait(driver, "a notice", lambda: driver.find_element(By.CSS_SELECTOR, ".notice")).text
        assert "Bluesky" in notice, notice
        assert "wrong" not in driver.page_source, "the password is shown again"
        shot(driver, f"{name}-bluesky-{'wrong' if password else 'connected'}")
        check_page(driver, "demo page after Bluesky")
    assert "@" + handle in text(driver), text(driver)


def connect_to_a_page(driver, running):
    """Without a redirect URI the broker's own pages end the flow."""
    driver.get(authorize_url(running, "youtube"))
    press(driver, "[name=decision][value=allow]")
    wait(driver, "the success page", lambda: "/connect/result/" in driver.current_url)
    shown = text(driver)
    assert "YouTube" in shown and "connected" in shown.lower(), shown
    shot(driver, "4-success")
    check_page(driver, "success page")
    driver.refresh()
    assert text(driver) == shown, "a reload shows the same"

    driver.get(authorize_url(running, "tiktok"))
    press(driver, "[name=decision][value=deny]")
    wait(driver, "the cancelled page", lambda: "/connect/result/" in driver.current_url)
    assert "TikTok" in text(driver), text(driver)
    shot(driver, "5-cancelled")
    check_page(driver, "cancelled page")

    driver.get(f"{running.url}/v1/connect/twitter/callback?state=unknown&code=1")
    shot(driver, "6-refused")
    check_page(driver, "refused callback")


def check_page(driver, name):
    """No script, no other host, nothing wider than a phone, and nothing that the page's own policy had to block."""
    origin = driver.current_url.split("/")[2]
    assert not driver.find_elements(By.TAG_NAME, "script"), f"{name}: a script"
    for element in driver.find_elements(By.CSS_SELECTOR, "img, link, iframe, video, object"):
        source = element.get_attribute("src") or element.get_attribute("href") or ""
        assert not source or origin in source or source.startswith("data:"), f"{name}: {source}"
    assert driver.find_elements(By.TAG_NAME, "h1"), f"{name}: no heading"
    assert driver.find_element(By.TAG_NAME, "html").get_attribute("lang"), f"{name}: no language"
    assert driver.execute_script("return innerWidth") == WIDTH, f"{name}: the window is not as wide as a phone"
    wide = driver.execute_script("return document.documentElement.scrollWidth - document.documentElement.clientWidth")
    assert wide <= 0, f"{name}: {wide} pixels wider than the window"
    blocked = [entry for entry in driver.get_log("browser") if "Content Security Policy" in entry["message"]]
    assert not blocked, f"{name}: {blocked}"


def without_script(driver, running):
    driver.get(running.url + "/")
    press(driver, 'form[action*="/demo/connect/pinterest"] button')
    press(driver, "[name=decision][value=allow]")
    wait(driver, "back on the demo's page", lambda: "status=success" in driver.current_url)


with demo() as running, app() as other, tempfile.TemporaryDirectory() as profile:
    status, headers, _ = fetch(running.url + "/")
    assert status == 200 and "script-src" not in headers["Content-Security-Policy"], headers
    driver = browser(os.path.join(profile, "with"))
    try:
        connect_by_keyboard(driver, running)
        connect_to_a_page(driver, running)
        choose_pages(driver, running, other, "7")
        through_an_app_that_redirects(driver, running, other)
        in_a_popup(driver, running, other)
        connect_bluesky(driver, running, "8")
    finally:
        driver.quit()
    driver = browser(os.path.join(profile, "without"), script=False)
    try:
        without_script(driver, running)
        choose_pages(driver, running, other, "9-without-script")
    finally:
        driver.quit()
print(f"Chromium connected by keyboard, by pointer and without script; screenshots are in {SHOTS}")

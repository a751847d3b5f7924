"""Chromium for the browser tests, and what a person does in it.

Needs Chromium and its driver (apt-get install chromium chromium-driver) and selenium (pip install selenium).
"""

import base64
import os
import shutil
import sys

try:
    from selenium import webdriver
    from selenium.common.exceptions import NoSuchElementException, StaleElementReferenceException, TimeoutException
    from selenium.webdriver.common.by import By
    from selenium.webdriver.common.keys import Keys  # noqa: F401
    from selenium.webdriver.support.ui import WebDriverWait
except ImportError:
    sys.exit("selenium is missing: python3 -m venv .venv && .venv/bin/pip install selenium")

CHROMIUM, DRIVER = shutil.which("chromium"), shutil.which("chromedriver")
if not (CHROMIUM and DRIVER):
    sys.exit("Chromium and its driver are missing: apt-get install chromium chromium-driver")

# Of a phone, in pixels.
WIDTH = 420


def browser(profile, script=True, log_requests=False):
    options = webdriver.ChromeOptions()
    options.binary_location = CHROMIUM
    for flag in [
        "--headless=new", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run",
        "--disable-background-networking", "--disable-component-update", "--disable-sync", "--disable-dev-shm-usage",
        f"--user-data-dir={profile}",
    ]:
        options.add_argument(flag)
    if not script:
        options.add_experimental_option("prefs", {"profile.managed_default_content_settings.javascript": 2})
    logs = {"browser": "ALL"} | ({"performance": "ALL"} if log_requests else {})
    options.set_capability("goog:loggingPrefs", logs)
    driver = webdriver.Chrome(options=options, service=webdriver.ChromeService(DRIVER))
    # A window of Chromium's is no narrower than 500 pixels, whatever it is told.
    driver.execute_cdp_cmd(
        "Emulation.setDeviceMetricsOverride", {"width": WIDTH, "height": 900, "deviceScaleFactor": 1, "mobile": False})
    return driver


def shot(driver, path):
    os.makedirs(os.path.dirname(path), exist_ok=True)
    driver.save_screenshot(path)


def shot_whole(driver, path):
    """The whole page, however long, at the window's width."""
    os.makedirs(os.path.dirname(path), exist_ok=True)
    width, height = driver.execute_script("return [innerWidth, document.documentElement.scrollHeight]")
    clip = {"x": 0, "y": 0, "width": width, "height": height, "scale": 1}
    taken = driver.execute_cdp_cmd("Page.captureScreenshot", {"captureBeyondViewport": True, "clip": clip})
    with open(path, "wb") as file:
        file.write(base64.b64decode(taken["data"]))


def text(driver):
    return driver.find_element(By.TAG_NAME, "body").text


def wait(driver, what, condition):
    """Waits for a condition. A page that is being left meanwhile is asked again."""
    waiting = WebDriverWait(driver, 20, ignored_exceptions=[NoSuchElementException, StaleElementReferenceException])
    try:
        met = waiting.until(lambda _: condition())
        waiting.until(lambda _: driver.execute_script("return document.readyState") == "complete")
        return met
    except TimeoutException:
        raise AssertionError(f"{what}\n{driver.current_url}\n{text(driver)}") from None


def press(driver, selector):
    """Clicks an element as soon as it is there."""
    wait(driver, selector, lambda: driver.find_element(By.CSS_SELECTOR, selector)).click()

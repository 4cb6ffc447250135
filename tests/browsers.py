"""Chromium without a window, where the system has it."""

import json
import shutil

import pytest

CHROMIUM = next(
    filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None
)
FLAGS = (
    "--headless=new",
    "--no-sandbox",
    "--disable-gpu",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
)


def start_browser(profile, width, height):
    """A browser to be quit afterwards; skips the test where there is none, saying what lacks."""
    webdriver = pytest.importorskip("selenium.webdriver", reason="selenium is not installed")
    driver_path = shutil.which("chromedriver")
    if CHROMIUM is None or driver_path is None:
        pytest.skip("no chromium, chromium-browser or google-chrome here, or no chromedriver")
    options = webdriver.ChromeOptions()
    options.binary_location = CHROMIUM
    for flag in (*FLAGS, f"--window-size={width},{height}", f"--user-data-dir={profile}"):
        options.add_argument(flag)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL", "performance": "ALL"})
    service = webdriver.ChromeService(executable_path=driver_path)
    return webdriver.Chrome(options=options, service=service)


def requested_urls(browser, page):
    """URLs, but for data:, that documents below the URL `page` asked for since the last call."""
    entries = [json.loads(row["message"])["message"] for row in browser.get_log("performance")]
    sent = [entry["params"] for entry in entries if entry["method"] == "Network.requestWillBeSent"]
    # Not what the browser's own first page asks for.
    urls = {each["request"]["url"] for each in sent if each["documentURL"].startswith(page)}
    return {url for url in urls if not url.startswith("data:")}

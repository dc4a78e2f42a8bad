"""A real browser, Debian's Chromium, driven by selenium; without one these tests are left out."""

import shutil

import pytest

BROWSERS = ("chromium", "chromium-browser", "google-chrome")


@pytest.fixture(scope="module")
def browser():
    """A window of 1440 x 900 px; a test that leaves an error on its console fails."""
    binary = next(filter(None, map(shutil.which, BROWSERS)), None)
    driver = shutil.which("chromedriver")
    if not binary or not driver:
        pytest.skip("no browser here: apt-get install chromium chromium-driver")
    from selenium import webdriver

    options = webdriver.ChromeOptions()
    options.binary_location = binary
    for flag in ("--headless=new", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage"):
        options.add_argument(flag)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
    window = webdriver.Chrome(options, webdriver.ChromeService(driver))
    window.set_window_size(1440, 900)
    yield window
    window.quit()


@pytest.fixture(autouse=True)
def _no_errors(browser):
    browser.get_log("browser")
    yield
    assert browser.get_log("browser") == []

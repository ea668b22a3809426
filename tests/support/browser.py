"""A real browser for tests of pages: Debian's Chromium without a window. A test skips where it is not installed."""

import contextlib
import shutil

import pytest


@contextlib.contextmanager
def open_browser(width=1440, height=900, scheme="light"):
    """Yields a Selenium driver of a browser that reaches loopback only; skips the test if there is none.

    Args:
      width: Width of the page in CSS pixels.
      height: Height of the page in CSS pixels.
      scheme: "light" or "dark", which the page may ask for.
    """
    webdriver = pytest.importorskip("selenium.webdriver", reason="selenium is not installed")
    driver_path, browser_path = shutil.which("chromedriver"), shutil.which("chromium") or shutil.which("google-chrome")
    if not driver_path or not browser_path:
        pytest.skip("chromedriver and Chromium are not installed")
    options = webdriver.ChromeOptions()
    options.binary_location = browser_path
    for argument in (
        "--headless=new",
        "--no-sandbox",
        "--disable-gpu",
        "--mute-audio",
        "--host-resolver-rules=MAP * 127.0.0.1",
    ):
        options.add_argument(argument)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
    driver = webdriver.Chrome(options=options, service=webdriver.ChromeService(driver_path))
    try:
        metrics = {"width": width, "height": height, "deviceScaleFactor": 1, "mobile": width < 600}
        driver.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", metrics)
        media = {"features": [{"name": "prefers-color-scheme", "value": scheme}]}
        driver.execute_cdp_cmd("Emulation.setEmulatedMedia", media)
        yield driver
    finally:
        driver.quit()

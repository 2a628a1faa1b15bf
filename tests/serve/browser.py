"""A headless Chromium, told what to do by the WebDriver protocol (https://www.w3.org/TR/webdriver2/)."""

import base64
import os
import re
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx

_PATH = f"{os.environ['PATH']}:/usr/bin"
CHROMIUM = shutil.which("chromium", path=_PATH) or shutil.which("google-chrome", path=_PATH)
DRIVER = shutil.which("chromedriver", path=_PATH)
_ELEMENT = "element-6066-11e4-a52e-4f735466cecf"
"""The name of an element in an answer, as the standard has it."""
_OPTIONS = ["--headless=new", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage"]
_NO_SCRIPTS = {"profile.managed_default_content_settings.javascript": 2}


class Browser:
    """One window, without JavaScript."""

    def __init__(self, client: httpx.Client) -> None:
        self._client = client

    def _ask(self, method: str, path: str, body: dict[str, Any] | None = None) -> Any:
        answer = self._client.request(method, path, json=body)
        assert answer.status_code == 200, answer.text
        return answer.json()["value"]

    def resize(self, width: int, height: int) -> None:
        """Of the window."""
        self._ask("POST", "/window/rect", {"width": width, "height": height})

    def open(self, url: str) -> None:
        """Go to a page."""
        self._ask("POST", "/url", {"url": url})

    def find(self, selector: str) -> list[str]:
        """Elements by a selector of CSS."""
        body = {"using": "css selector", "value": selector}
        return [found[_ELEMENT] for found in self._ask("POST", "/elements", body)]

    def only(self, selector: str) -> str:
        """The one that there is."""
        (found,) = self.find(selector)
        return found

    def text(self, element: str) -> str:
        """As a person sees it."""
        return str(self._ask("GET", f"/element/{element}/text"))

    def property(self, element: str, name: str) -> Any:
        """Of the document's model."""
        return self._ask("GET", f"/element/{element}/property/{name}")

    def type(self, element: str, text: str) -> None:
        """Key by key."""
        self._ask("POST", f"/element/{element}/value", {"text": text})

    def click(self, element: str) -> None:
        """And wait for the page that comes of it."""
        self._ask("POST", f"/element/{element}/click", {})

    def screenshot(self, file: Path) -> None:
        """What is seen, as PNG."""
        file.write_bytes(base64.b64decode(self._ask("GET", "/screenshot")))


@contextmanager
def browsing(folder: Path) -> Iterator[Browser]:
    """A browser.

    Args:
        folder: for what it writes.
    """
    assert DRIVER is not None
    home = {**os.environ, "HOME": str(folder)}
    with subprocess.Popen(
        [DRIVER, "--port=0"], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True, env=home
    ) as driver:
        try:
            assert driver.stdout is not None
            port = next(
                found[1]
                for line in driver.stdout
                if (found := re.search(r"successfully on port (\d+)", line))
            )
            with httpx.Client(base_url=f"http://127.0.0.1:{port}", timeout=None) as client:
                options = {
                    "binary": CHROMIUM,
                    "args": [*_OPTIONS, f"--user-data-dir={folder / 'profile'}"],
                    "prefs": _NO_SCRIPTS,
                }
                wanted = {"capabilities": {"alwaysMatch": {"goog:chromeOptions": options}}}
                made = client.post("/session", json=wanted)
                assert made.status_code == 200, made.text
                session = f"/session/{made.json()['value']['sessionId']}"
                client.base_url = httpx.URL(f"http://127.0.0.1:{port}{session}")
                try:
                    yield Browser(client)
                finally:  # or the browser would outlive its driver
                    ended = client.delete(f"http://127.0.0.1:{port}{session}")
                    assert ended.status_code == 200, ended.text
        finally:
            driver.kill()

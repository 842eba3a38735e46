"""Opens HTML files in headless Chromium, and reports errors of the page."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")

#: Chromium refuses its sandbox to root. Without a GPU, WebGL is drawn by SwiftShader.
FLAGS = ["--enable-unsafe-swiftshader", *(["--no-sandbox"] if os.geteuid() == 0 else [])]


def _working(name: str) -> str | None:
    """Return the path of a program that runs; some systems have a placeholder that prints how to install it."""
    path = shutil.which(name)
    if path is None:
        return None
    return path if subprocess.run([path, "--version"], capture_output=True).returncode == 0 else None


@contextmanager
def chromium() -> Iterator[Any]:
    """Give a running browser; the test is skipped where there is none."""
    playwright = pytest.importorskip(
        "playwright.sync_api", reason="pages are not opened: pip install 'vjepa-world[browser]'"
    )
    with playwright.sync_playwright() as driver:
        own = driver.chromium.executable_path
        found = own if Path(own).exists() else next(filter(None, map(_working, NAMES)), None)
        if found is None:
            pytest.skip(
                "pages are not opened: there is no Chromium; apt-get install chromium, or playwright install chromium"
            )
        browser = driver.chromium.launch(executable_path=found, args=FLAGS)
        yield browser
        browser.close()


class Visit:
    """An open page.

    Attributes:
        page: The page, as Playwright has it.
        errors: Errors on its console, and exceptions of its scripts.
        requests: Addresses that it asked for, other than itself and what it contains.
    """

    def __init__(
        self, browser: Any, path: Path, *, scheme: str = "light", width: int = 1240, scripts: bool = True
    ) -> None:
        viewport = {"width": width, "height": 900}
        context = browser.new_context(color_scheme=scheme, viewport=viewport, java_script_enabled=scripts)
        self.page = context.new_page()
        self.errors: list[str] = []
        self.requests: list[str] = []
        self.page.on("console", self._note_message)
        self.page.on("pageerror", lambda error: self.errors.append(str(error)))
        self.page.on("request", self._note_request)
        self.page.goto(path.as_uri())

    def _note_message(self, message: Any) -> None:
        if message.type == "error":
            self.errors.append(message.text)

    def _note_request(self, request: Any) -> None:
        if not request.url.startswith(("data:", "blob:", "file:")):
            self.requests.append(request.url)

    def close(self) -> None:
        """Close the page."""
        self.page.context.close()

"""A headless browser, and pages to click in: `make test-browser`."""

import os
import shutil
from collections.abc import Callable, Iterator
from typing import Any

import pytest

try:
    from playwright import sync_api as playwright
except ModuleNotFoundError:
    playwright = None


def expect(locator: Any) -> Any:
    """Wait until something holds, without running code in the page: its policy forbids that."""
    return playwright.expect(locator)


LAPTOP = {"width": 1280, "height": 800}
PHONE = {"width": 390, "height": 844}

SPLIT_WORDS = """() => {
  const found = [], range = document.createRange();
  const walker = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
  for (let node = walker.nextNode(); node; node = walker.nextNode()) {
    const { parentElement } = node;
    if (!parentElement.checkVisibility() || parentElement.closest("script, select")) continue;
    for (const { index, 0: word } of node.data.matchAll(/[\\p{L}\\p{N}.]+/gu)) {
      range.setStart(node, index);
      range.setEnd(node, index + word.length);
      const lines = new Set([...range.getClientRects()].map(one => Math.round(one.top)));
      if (lines.size > 1) found.push(word);
    }
  }
  return found;
}"""
"""Returns the words of a page that stand on more than one line."""


@pytest.fixture(scope="session")
def browser() -> Iterator[Any]:
    if playwright is None:
        pytest.skip("playwright is not installed: make test-browser")
    path = os.environ.get("CHROMIUM") or shutil.which("chromium")
    if path is None:
        pytest.skip("there is no chromium: apt-get install chromium, or CHROMIUM=its path")
    with playwright.sync_playwright() as started:
        # Not sandboxed, as root in a container may not be; nothing foreign is opened here.
        opened = started.chromium.launch(executable_path=path, args=["--no-sandbox"])
        yield opened
        opened.close()


@pytest.fixture
def page_of(browser: Any) -> Iterator[Callable[..., Any]]:
    """Return a function that opens an address; pages may load nothing foreign, and log nothing."""
    said: list[str] = []
    contexts = []

    def opened(address: str, viewport: dict[str, int] = LAPTOP, scheme: str = "light") -> Any:
        context = browser.new_context(viewport=viewport, color_scheme=scheme)
        contexts.append(context)
        page = context.new_page()
        page.set_default_timeout(20_000)
        page.on("pageerror", lambda error: said.append(f"error: {error}"))
        page.on("console", lambda message: said.append(message.text))
        page.on("request", lambda request: requested(request.url))
        page.goto(address)
        return page

    def requested(url: str) -> None:
        if not url.startswith(("file:", "data:", "http://127.0.0.1:")):
            said.append(f"asked for {url}")

    yield opened
    for context in contexts:
        context.close()
    assert not said

"""The board in a browser: quiet under its own policy, accessible, whole on a phone."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import axe_core_python
import pytest

from board.conftest import TOKEN, served

PAGES = ("/", "/results", "/study", "/data", "/playground")


@pytest.fixture(scope="module")
def site(boarded: Path, browser: Any) -> Iterator[Any]:
    with served(boarded) as address:
        browser.get(f"{address}/?token={TOKEN}")
        yield browser, address
        browser.get("about:blank")


@pytest.mark.parametrize("path", PAGES)
def test_pages_are_accessible_and_whole(site: Any, path: str) -> None:
    browser, address = site
    for width, scheme in [(w, s) for w in (1400, 360) for s in ("light", "dark")]:
        feature = {"name": "prefers-color-scheme", "value": scheme}
        browser.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": [feature]})
        metrics = {"width": width, "height": 900, "deviceScaleFactor": 1, "mobile": width < 500}
        browser.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", metrics)
        browser.get(address + path)
        axe = next(Path(axe_core_python.__file__).parent.glob("axe.min.js")).read_text()
        browser.execute_script(axe)
        found = browser.execute_async_script(
            "const done = arguments[0]; axe.run().then(r => done(r.violations))"
        )
        serious = [
            (f["id"], f["nodes"][0]["html"][:200]) for f in found if f["impact"] in ("serious", "critical")
        ]
        assert serious == [], (width, scheme)
        wide = browser.execute_script(
            "return [document.documentElement, ...document.querySelectorAll('.scroll')]"
            ".filter((e) => e.scrollWidth > e.clientWidth + 1).map((e) => e.outerHTML.slice(0, 80))"
        )
        assert wide == [], (width, scheme)
    browser.execute_cdp_cmd("Emulation.clearDeviceMetricsOverride", {})
    assert browser.execute_script("return window.evil") is None
    assert [entry for entry in browser.get_log("browser") if entry["level"] == "SEVERE"] == []

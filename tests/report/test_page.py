"""The page in a browser: quiet, whole, accessible, and deaf to what others wrote."""

import json
import time
from pathlib import Path
from typing import Any

import axe_core_python
import pytest

from paceline.report.collect import collect_study
from paceline.report.export import write_report


@pytest.fixture(scope="module")
def page(studied: Any, browser: Any, tmp_path_factory: pytest.TempPathFactory) -> Any:
    _, html = write_report(collect_study(studied), tmp_path_factory.mktemp("page"))
    browser.get("about:blank")  # away from the browser's own start page and what that loads
    browser.get_log("performance")
    browser.get(html.as_uri())
    return browser


def wait(browser: Any, script: Any) -> Any:
    for _ in range(200):
        if found := browser.execute_script(script):
            return found
        time.sleep(0.05)
    raise AssertionError(f"never true: {script}")


def test_curves_are_drawn_and_nothing_is_asked_of_any_host(page: Any) -> None:
    for number in range(4):
        page.execute_script("document.querySelectorAll('.chart')[arguments[0]].scrollIntoView()", number)
        wait(
            page,
            f"return document.querySelectorAll('.chart')[{number}].querySelectorAll('.trace').length >= 3",
        )
    asked = [json.loads(entry["message"])["message"] for entry in page.get_log("performance")]
    urls = [m["params"]["request"]["url"] for m in asked if m["method"] == "Network.requestWillBeSent"]
    assert urls
    assert all(url.startswith(("file:", "data:", "blob:")) for url in urls), urls
    assert [entry for entry in page.get_log("browser") if entry["level"] == "SEVERE"] == []


def test_what_others_wrote_does_nothing(page: Any) -> None:
    assert page.execute_script("return window.evil") is None
    assert page.execute_script("return [...document.images].length") == 0
    assert "<script>" in page.execute_script("return document.body.innerText")


def test_the_table_sorts(page: Any) -> None:
    def losses() -> Any:
        return page.execute_script(
            "return [...document.querySelectorAll('table.sortable')[0].tBodies[0].rows].map(r => +r.cells[1].dataset.value)"
        )

    click = "document.querySelectorAll('table.sortable')[0].querySelectorAll('thead button')[1].click()"
    page.execute_script(click)
    assert losses() == sorted(losses())
    page.execute_script(click)
    assert losses() == sorted(losses(), reverse=True)
    assert (
        page.execute_script("return document.querySelector('th[aria-sort]').getAttribute('aria-sort')")
        == "descending"
    )


def test_the_axis_changes(page: Any) -> None:
    page.execute_script("document.querySelector('[data-x=tokens][aria-pressed]').click()")
    wait(page, "return document.querySelector('.chart').layout.xaxis.title.text === 'tokens'")
    assert max(page.execute_script("return document.querySelector('.chart').data[0].x")) > 100


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [1200, 390])
def test_no_serious_accessibility_fault(page: Any, scheme: Any, width: Any) -> None:
    page.execute_cdp_cmd(
        "Emulation.setEmulatedMedia", {"features": [{"name": "prefers-color-scheme", "value": scheme}]}
    )
    page.execute_cdp_cmd(
        "Emulation.setDeviceMetricsOverride",
        {"width": width, "height": 900, "deviceScaleFactor": 1, "mobile": width < 500},
    )
    page.execute_script(next(Path(axe_core_python.__file__).parent.glob("axe.min.js")).read_text())
    found = page.execute_async_script("const done = arguments[0]; axe.run().then(r => done(r.violations))")
    page.execute_cdp_cmd("Emulation.clearDeviceMetricsOverride", {})
    serious = [
        (fault["id"], fault["nodes"][0]["html"][:200])
        for fault in found
        if fault["impact"] in ("serious", "critical")
    ]
    assert serious == []
    assert page.execute_script("return document.documentElement.scrollWidth <= innerWidth + 1"), (
        "the page is wider than the screen"
    )

"""The page in a browser: quiet, whole, accessible, and deaf to what others wrote."""

import json
import time
from pathlib import Path
from typing import Any

import axe_core_python
import pytest

from paceline.report.collect import collect_study
from paceline.report.export import write_report

# Lines of text that lie over each other by more than two pixels; the drawing of a curve aside.
OVERLAPS = """
const lines = [];
const walker = document.createTreeWalker(document.querySelector("main"), NodeFilter.SHOW_TEXT);
while (walker.nextNode()) {
  const node = walker.currentNode;
  if (!node.textContent.trim() || node.parentElement.closest("pre, style, script, option") || !node.parentElement.checkVisibility()) continue;
  const range = document.createRange();
  range.selectNodeContents(node);
  for (const box of range.getClientRects()) if (box.width > 0) lines.push([box, node.textContent.trim().slice(0, 40)]);
}
const over = (a, b) => Math.min(a.right, b.right) - Math.max(a.left, b.left) > 2 && Math.min(a.bottom, b.bottom) - Math.max(a.top, b.top) > 4;
return lines.flatMap(([a, what], i) => lines.slice(i + 1).filter(([b]) => over(a, b)).map(([, other]) => [what, other]));
"""


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
@pytest.mark.parametrize("width", [1400, 360])
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


@pytest.mark.parametrize("width", [1400, 360])
def test_nothing_is_cut_and_nothing_overlaps(page: Any, width: int) -> None:
    metrics = {"width": width, "height": 900, "deviceScaleFactor": 1, "mobile": width < 500}
    page.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", metrics)
    page.execute_script("charts.forEach((chart) => draw(chart))")
    overlapping = page.execute_script(OVERLAPS)
    wide = page.execute_script(
        "return [document.documentElement, ...document.querySelectorAll('.scroll')].filter((e) => e.scrollWidth > e.clientWidth + 1)"
        ".map((e) => e.getAttribute('aria-label') ?? 'the page')"
    )
    page.execute_cdp_cmd("Emulation.clearDeviceMetricsOverride", {})
    assert overlapping == []
    assert wide == []


def test_the_answer_is_on_the_first_screen(page: Any) -> None:
    """Words, cost and a line with its interval for every recipe, where the plot's scale says."""
    for what in (".verdict-words", ".forest tfoot"):
        assert (
            page.execute_script(
                f"return document.querySelector('{what}').getBoundingClientRect().bottom + scrollY"
            )
            < 900
        )
    rows = page.execute_script(
        "return [...document.querySelectorAll('.forest tbody tr')].map((row) => [row.cells[0].textContent, row.cells[2].textContent,"
        " row.cells[3].textContent, ...['.whole', '.zero'].map((what) => { const at = row.querySelector(what)?.getBoundingClientRect();"
        " return at ? [at.left, at.right] : null; })])"
    )
    assert {row[0] for row in rows} == {"plain", "faster", "twin"}
    for name, interval, said, line, zero in rows:
        assert (line is None) == (name == "plain")
        if line:
            low, high = map(float, interval.split("[")[1].rstrip("]").split(","))
            assert (line[0] <= zero[1] and line[1] >= zero[0]) == (low <= 0 <= high) == (said == "tie")


def test_recipes_are_hidden_by_the_legend(page: Any) -> None:
    page.execute_script("draw(charts[0]); document.querySelector('.legend input').click()")
    assert "plain" not in page.execute_script("return charts[0].data.map((trace) => trace.name)")
    page.execute_script("document.querySelector('[data-all=\"\"]').click()")
    assert page.execute_script("return charts[0].data.length") == 0
    page.execute_script("document.querySelector('[data-all=yes]').click()")
    assert set(page.execute_script("return charts[0].data.map((trace) => trace.name)")) >= {"plain", "twin"}


def test_the_reader_shows_one_recipe_beside_the_base_and_searches(page: Any, facts: Any) -> None:
    show = (
        "const reader = document.querySelector('.reader'); const select = reader.querySelector('select');"
        " select.value = arguments[0]; select.dispatchEvent(new Event('change')); const search = reader.querySelector('input');"
        " search.value = arguments[1]; search.dispatchEvent(new Event('input'));"
        " return [[...reader.querySelectorAll('.sample:not([hidden]) [data-answer]:not([hidden]) pre')].map((e) => e.textContent),"
        " reader.querySelector('[role=status]').textContent]"
    )
    count, recipe = len(facts.samples), list(facts.samples[0].after)[1]
    answers, said = page.execute_script(show, "1", "")
    assert answers == [sample.after[recipe] for sample in facts.samples]
    assert said == f"{count} questions"
    answers, said = page.execute_script(show, "1", "onerror")
    assert 0 < len(answers) < count, "questions of MT-Bench hold it, those of the tasks do not"
    assert said == f"{len(answers)} of {count} questions"
    assert page.execute_script(show, "0", "no such words anywhere") == [[], f"0 of {count} questions"]
    page.execute_script(show, "0", "")


def test_the_keyboard_reaches_everything_that_can_be_used(page: Any) -> None:
    assert page.execute_script(
        "return [...document.querySelectorAll('button, input, select, a, summary, .scroll, pre')].every((e) => e.tabIndex === 0)"
    )

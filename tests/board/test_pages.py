"""The board in a browser: quiet under its own policy, accessible, whole on a phone."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import axe_core_python
import psutil
import pytest
from selenium.webdriver import ActionChains, Keys
from selenium.webdriver.support.wait import WebDriverWait

from board.conftest import TOKEN, served
from paceline.board import playground
from paceline.runs.lock import hold, holder_of

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


def test_the_keyboard_alone_asks_votes_reads_data_and_stops(
    boarded: Path, browser: Any, monkeypatch: Any
) -> None:
    """Tab and Enter reach everything, and what has the focus shows it."""
    monkeypatch.setattr(playground, "MOST_TOKENS", 4)
    with hold(boarded / "plain"), served(boarded) as address:
        holder = holder_of(boarded / "plain")
        assert holder
        (boarded / "plain" / ".lock").write_text(
            holder.model_copy(update={"saves_on_sigterm": True}).to_json()
        )
        stopped: list[str] = []
        monkeypatch.setattr(psutil.Process, "send_signal", lambda self, number: stopped.append(number.name))
        browser.get(f"{address}/?token={TOKEN}")
        wait(browser, "location.search === '' && document.querySelector('h1')")
        tab_to(browser, "textContent === 'playground'")
        press(browser, Keys.ENTER)
        wait(browser, "document.querySelector('textarea')")
        tab_to(browser, "name === 'prompt'")
        press(browser, "What is 2 plus 2?")
        tab_to(browser, "tagName === 'SUMMARY'")
        press(browser, Keys.ENTER)
        tab_to(browser, "value === 'plain'")
        press(browser, Keys.SPACE)
        wait(browser, "location.search === '?adapter=faster'")
        tab_to(browser, "textContent === 'Ask'")
        press(browser, Keys.ENTER)
        wait(browser, "document.querySelector('button[name=choice]')")
        assert browser.execute_script("return document.activeElement.textContent") == "Ask"
        tab_to(browser, "textContent === 'None is better'")
        press(browser, Keys.ENTER)
        wait(browser, "!document.querySelector('button[name=choice]') && document.querySelector('h3')")
        answers = browser.execute_script("return document.getElementById('answers').textContent")
        assert ("faster" in answers, "plain" in answers) == (True, False)
        assert browser.execute_script("return location.search") == "?adapter=faster", "after the vote, too"
        tab_to(browser, "textContent === 'data'")
        press(browser, Keys.ENTER)
        wait(browser, "document.querySelector('mark')")
        tab_to(browser, "name === 'search'")
        press(browser, "no such text anywhere" + Keys.ENTER)
        wait(browser, "document.body.textContent.includes('None of the examples')")
        tab_to(browser, "textContent === 'overview'")
        press(browser, Keys.ENTER)
        wait(browser, "document.querySelector('.trainer button')")
        tab_to(browser, "textContent === 'Save and stop'")
        press(browser, Keys.ENTER)
        wait(browser, "document.querySelector('h1')?.textContent === 'Stopping'")
        assert stopped == ["SIGTERM"]
        browser.get("about:blank")


def press(browser: Any, keys: str) -> None:
    ActionChains(browser).send_keys(keys).perform()


def wait(browser: Any, condition: str) -> None:
    WebDriverWait(browser, 30, 0.05).until(lambda driver: driver.execute_script(f"return {condition}"))


def tab_to(browser: Any, condition: str) -> None:
    """Presses Tab until the focused element fits; each on the way shows its focus."""
    for _ in range(60):
        press(browser, Keys.TAB)
        fits, shows = browser.execute_script(
            "const at = document.activeElement, own = getComputedStyle(at);"
            f"return [at.{condition}, at === document.body || (own.outlineStyle !== 'none' && "
            "parseFloat(own.outlineWidth) >= 1)]"
        )
        assert shows, browser.execute_script("return document.activeElement.outerHTML")
        if fits:
            return
    raise AssertionError(f"no element that Tab reaches has {condition}")

"""What the board shows and whom it answers."""

import json
import re
import shutil
import urllib.request
from pathlib import Path
from typing import Any

from starlette.testclient import TestClient

from board.conftest import EVIL, HOST, TOKEN, served
from helpers import MakeBase
from paceline.board.app import LIMITS, make_app
from paceline.board.live import Live
from paceline.board.pages import templates
from paceline.config.load import make_recipe
from paceline.config.replicates import Seeds, replicates
from paceline.config.study import Run, Study
from paceline.report.collect import collect_study
from paceline.training.study import train_study


def test_nobody_without_the_token_sees_or_does_anything(boarded: Path) -> None:
    with TestClient(make_app(boarded, TOKEN), base_url=HOST) as client:
        for method, path in [
            ("GET", "/"),
            ("GET", "/?token=no"),
            ("GET", "/live"),
            ("GET", "/static/board.js"),
        ]:
            assert client.request(method, path).status_code == 403
        assert client.post("/stop", data={"run": "plain"}, headers={"Origin": HOST}).status_code == 403
        cookie = client.get(f"/?token={TOKEN}").headers["set-cookie"]
        assert "HttpOnly" in cookie
        assert "SameSite=strict" in cookie
        assert client.get("/").status_code == 200


def test_only_the_boards_own_pages_on_this_machine_may_change_anything(ask: Any) -> None:
    assert ask("POST", "/stop", {"run": "plain"}, Origin="http://127.0.0.1:9000").status_code == 403
    assert ask("POST", "/stop", {"run": "plain"}, Origin="https://evil.example").status_code == 403
    assert ask("GET", "/", Host="evil.example").status_code == 403
    assert ask("GET", "/stop").status_code == 405
    assert ask("POST", "/stop", {"run": "x" * LIMITS.body_bytes}).status_code == 413
    refused = ask("POST", "/stop", {"run": EVIL})
    assert refused.status_code == 409
    assert "no process trains this run now" in refused.text
    assert EVIL not in refused.text


def test_pages_allow_no_script_but_the_boards_files(ask: Any) -> None:
    for path in ("/", "/results"):
        page = ask("GET", path)
        assert "script-src 'self';" in page.headers["content-security-policy"]
        scripts = [tag.split(">")[0] for tag in page.text.split("<script")[1:]]
        assert all("src=" in tag or 'type="application/json"' in tag for tag in scripts), scripts
        assert page.headers["cache-control"] == "no-store"
    assert ask("GET", "/static/..%2fapp.py").status_code == 404


def test_the_overview_says_what_the_runs_files_and_the_report_say(ask: Any, boarded: Path) -> None:
    page = ask("GET", "/").text
    comparison = collect_study(boarded).comparison
    assert comparison
    assert comparison.conclusion().split(";")[0].split("'")[0][:30] in page
    for row in comparison.rows:
        assert row.name in page
    assert page.count('class="state-over"') == 2
    assert "All runs are over." in page
    assert "perplexity" in ask("GET", "/results").text


def test_replicates_of_a_recipe_are_one_row_of_the_overview(
    tiny_base: MakeBase, sums: str, tmp_path: Path
) -> None:
    """It stands out by the one that failed, whose name the list below has."""
    folder = tmp_path / "study"
    common = {"base": tiny_base(), "data": sums, "max_length": 128, "max_steps": 1}
    faster = Run(name="faster", recipe=make_recipe({**common, "lr": 1e-2}, "faster"))
    plain = Run(name="plain", recipe=make_recipe({**common, "seed": 1}, "plain"))
    train_study(Study(name="study", runs=[faster, *replicates(plain, Seeds(count=2))]), folder)
    (folder / "plain-seed2" / "status.json").write_text('{"state": "failed"}')
    live = Live(folder, templates())
    shown = live.parts()["runs"]
    assert re.findall(r'<tr class="state-(\w+)"><td data-label="run">([^<]+)', shown) == [
        ("over", "faster"),
        ("failed", "plain × 2"),
    ]
    assert "1 finished, 1 failed" in shown
    assert "plain-seed2: failed" in live.parts()["findings"]


def test_the_stream_tells_what_changes(boarded: Path, tmp_path: Path) -> None:
    """A finding that is written to a log arrives at who follows, and nothing else is sent again."""
    from paceline.runs.events import FindingEvent

    folder = tmp_path / "study"
    shutil.copytree(boarded, folder)
    status = folder / "plain" / "status.json"
    status.write_text('{"state": "running"}')
    with served(folder) as address:
        opener = urllib.request.build_opener(urllib.request.HTTPCookieProcessor())
        opener.open(f"{address}/?token={TOKEN}")
        with opener.open(f"{address}/live", timeout=20) as stream:
            parts = next_event(stream)
            assert {"runs", "findings", "answer", "trainers"} <= set(parts)
            assert 'class="state-running"' in parts["runs"]
            found = FindingEvent(step=3, rule="a-rule", severity="warning", message=f"odd {EVIL}")
            with (folder / "plain" / "events.jsonl").open("a") as log:
                log.write(found.model_dump_json() + "\n")
            parts = next_event(stream)
    assert "odd &lt;script&gt;" in parts["findings"]
    assert "answer" not in parts


def next_event(stream: Any) -> Any:
    while not (line := stream.readline().decode()).startswith("data: "):
        assert line
    return json.loads(line.removeprefix("data: "))


def test_no_address_leads_out_of_the_folder(ask: Any, boarded: Path) -> None:
    (boarded.parent / "outside.yaml").write_text("study: outside-of-the-folder\n")
    outside = ("..", "../..", "../outside.yaml", str(boarded.parent / "outside.yaml"), "/etc/passwd")
    for way in outside:
        quoted = way.replace("/", "%2f")
        for path in (f"/static/{quoted}", f"/static/{way}", f"/data?run={quoted}", f"/results?run={quoted}"):
            answer = ask("GET", path)
            assert answer.status_code < 500, path
            assert "outside-of-the-folder" not in answer.text, path
            assert "root:" not in answer.text, path

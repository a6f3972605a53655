"""A study as a job: what the API is asked, where secrets go, what comes back."""

import json
import os
import shutil
import subprocess
import sys
from importlib.metadata import version
from pathlib import Path
from typing import Any

import pytest

import paceline as paceline_package
from hub import TOKEN
from paceline.config.load import load_study
from paceline.config.replicates import Seeds
from paceline.errors import PacelineError
from paceline.launch.hf_jobs import submit

STUDY = """study: little
recipe: {base: embedded, data: {source: "embedded:rust", n: 40}, max_steps: 1}
runs:
  - {name: one}
"""


def test_a_job_is_started_followed_and_brought_back(
    paceline: Any, hub: Any, studied: Any, tmp_path: Path
) -> None:
    (tmp_path / "study.yaml").write_text(STUDY)
    hub.repositories["someone/paceline-little"] = {
        "private": True,
        "files": {"runs/little/one/status.json": b'{"state": "finished"}'},
    }
    done = paceline("launch", "study.yaml", "--on", "hf-jobs", "--flavor", "a100-large", "--runs", "back")
    assert done.returncode == 0, done.stderr
    (job,) = hub.jobs.values()
    asked = job["asked"]
    assert asked["flavor"] == "a100-large"
    assert asked["secrets"]["HF_TOKEN"] == TOKEN
    assert TOKEN not in json.dumps({key: value for key, value in asked.items() if key != "secrets"})
    assert asked["command"][:2] == ["uv", "run"]
    assert asked["command"][-3:] == ["-m", "paceline.launch.job", "someone/paceline-little"]
    assert hub.repositories["someone/paceline-little"]["files"]["study.yaml"].decode() == STUDY
    assert "step 1 loss 2.0" in done.stdout
    assert (tmp_path / "back" / "runs" / "little" / "one" / "status.json").is_file()


@pytest.mark.slow
def test_a_job_that_fails_is_told_and_what_it_had_done_is_brought(
    paceline: Any, hub: Any, tmp_path: Path
) -> None:
    (tmp_path / "study.yaml").write_text(STUDY)
    hub.ends = "ERROR"
    hub.faults += [("GET .*/logs", 429), ("GET /api/jobs/someone/job0", 0)]
    done = paceline("launch", "study.yaml", "--on", "hf-jobs", "--runs", "back")
    assert done.returncode == 2
    assert "ended as ERROR" in done.stderr
    assert "Traceback" not in done.stderr
    assert (tmp_path / "back" / "study.yaml").is_file()


@pytest.mark.parametrize(
    ("status", "said"),
    [
        (401, "does not know the token"),
        (403, "may not write there"),
        (409, "409"),
        (500, "500"),
        (0, "refuses to start it"),
        (429, None),
    ],
)
def test_a_hub_that_starts_no_job_is_told_and_never_asked_twice_for_one(
    quick: Any, tmp_path: Path, status: Any, said: Any
) -> None:
    (tmp_path / "study.yaml").write_text(STUDY)
    quick.faults += [("POST /api/jobs/someone", status)]
    told = []
    if said is None:
        assert (
            submit(tmp_path / "study.yaml", "cpu-basic", None, "paceline", "1h", told.append).id in quick.jobs
        )
    else:
        with pytest.raises(PacelineError, match=said) as caught:
            submit(tmp_path / "study.yaml", "cpu-basic", None, "paceline", "1h", told.append)
        told.append(str(caught.value))
        assert not quick.jobs
    assert TOKEN not in " ".join(told)


def test_the_job_installs_the_wheel_that_lies_beside_the_study(quick: Any, tmp_path: Path) -> None:
    file = tmp_path / "study.yaml"
    file.write_text(STUDY)
    job = submit(file, "cpu-basic", None, None, "1h", print)
    command = quick.jobs[job.id]["asked"]["command"]
    address = command[command.index("--with") + 1]
    wheel = f"paceline-{version('paceline')}-py3-none-any.whl"
    where = f"{quick.url}/someone/paceline-little/resolve/main/{wheel}"
    assert address == f"paceline[quant,judge,track] @ {where}"
    sent = tmp_path / wheel
    sent.write_bytes(quick.repositories["someone/paceline-little"]["files"][wheel])
    installed = tmp_path / "installed"
    pip = [sys.executable, "-m", "pip", "install", "--no-deps", "--no-index", "--target", str(installed)]
    subprocess.run([*pip, str(sent)], check=True, capture_output=True)
    ours = Path(paceline_package.__file__).parent
    for path in ours.rglob("*"):
        if path.is_file() and "__pycache__" not in path.parts:
            assert (installed / "paceline" / path.relative_to(ours)).read_bytes() == path.read_bytes()
    shown = [sys.executable, "-m", "paceline", "--version"]
    done = subprocess.run(
        shown, cwd=installed, env={**os.environ, "PYTHONPATH": str(installed)}, capture_output=True, text=True
    )
    assert done.stdout.strip() == version("paceline"), done.stderr


def test_seeds_go_into_the_study_that_is_sent(quick: Any, tmp_path: Path) -> None:
    file = tmp_path / "study.yaml"
    file.write_text(STUDY)
    submit(file, "cpu-basic", None, "paceline", "1h", print, Seeds(count=2))
    sent = tmp_path / "sent.yaml"
    sent.write_bytes(quick.repositories["someone/paceline-little"]["files"]["study.yaml"])
    assert load_study(sent) == load_study(file, seeds=Seeds(count=2))


@pytest.mark.parametrize(
    ("settings", "server", "told"),
    [
        ("", "", False),
        ("track: trackio,", "", True),
        ("track: trackio, track_space: me/space,", "", False),
        ("track: trackio,", "https://server?write_token=secret", False),
    ],
)
def test_a_dashboard_that_would_end_with_the_job_is_told(
    quick: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, settings: str, server: str, told: bool
) -> None:
    (tmp_path / "study.yaml").write_text(STUDY.replace("base: embedded,", f"base: embedded, {settings}"))
    if server:
        monkeypatch.setenv("TRACKIO_SERVER_URL", server)
    lines: list[str] = []
    job = submit(tmp_path / "study.yaml", "cpu-basic", None, "paceline", "1h", lines.append)
    assert any("set track_space" in line for line in lines) == told
    asked = quick.jobs[job.id]["asked"]
    assert asked["secrets"].get("TRACKIO_SERVER_URL", "") == server
    assert "write_token" not in json.dumps({key: value for key, value in asked.items() if key != "secrets"})


def test_local_data_is_refused_before_anything_is_asked(paceline: Any, hub: Any, tmp_path: Path) -> None:
    (tmp_path / "rows.jsonl").write_text('{"prompt": "x", "completion": "y"}\n')
    (tmp_path / "study.yaml").write_text(STUDY.replace('"embedded:rust"', "rows.jsonl"))
    done = paceline("launch", "study.yaml", "--on", "hf-jobs")
    assert done.returncode == 2
    assert "lies on this machine" in done.stderr
    assert hub.asked == []


@pytest.mark.slow
def test_what_runs_inside_the_job_trains_reports_and_gives_back(quick: Any, tmp_path: Path) -> None:
    from paceline.launch import job

    quick.repositories["someone/paceline-little"] = {"private": True, "files": {"study.yaml": STUDY.encode()}}
    assert job.main("someone/paceline-little", tmp_path / "work", every=600) == 0
    files = quick.repositories["someone/paceline-little"]["files"]
    assert {
        "runs/little/one/adapter/adapter_model.safetensors",
        "runs/little/report.html",
        "runs/little/one/events.jsonl",
    } <= set(files)
    trained = files["runs/little/one/events.jsonl"]
    shutil.rmtree(tmp_path / "work")
    assert job.main("someone/paceline-little", tmp_path / "work", every=600) == 0
    assert files["runs/little/one/events.jsonl"] == trained, "what the repository held was trained again"


@pytest.mark.slow
def test_code_that_the_job_cannot_run_is_left_for_the_machine_that_the_runs_come_back_to(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    from paceline.launch.job import train_and_report

    file, runs = tmp_path / "study.yaml", tmp_path / "little"
    file.write_text(STUDY.replace("max_steps: 1", "max_steps: 1, eval: {code: {suite: rust, n: 1}}"))
    with monkeypatch.context() as elsewhere:
        elsewhere.setenv("PATH", str(tmp_path))
        train_and_report(file, runs)
    assert "not run in this job: the Rust suite needs rustc" in capsys.readouterr().out
    assert "rustc" in (runs / "report.md").read_text()
    (evaluated,) = paceline_package.run_study(file, runs).evaluation_statuses
    assert evaluated.done


def test_what_no_machine_can_evaluate_ends_a_job_before_it_trains(tmp_path: Path) -> None:
    from paceline.launch.job import train_and_report

    file = tmp_path / "study.yaml"
    wanted = "eval: {code: {suite: rust, n: 1}, forgetting: {source: nowhere.jsonl, n: 2}}"
    file.write_text(STUDY.replace("max_steps: 1", f"max_steps: 1, {wanted}"))
    with pytest.raises(SystemExit) as ended:
        train_and_report(file, tmp_path / "little")
    assert ended.value.code == 2
    assert not (tmp_path / "little").exists()

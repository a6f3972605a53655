"""A judge's server that misbehaves."""

import random
import time
from pathlib import Path

import pytest
from pydantic import ValidationError

import judge_server
from judge_server import CASES, Server
from paceline.cli.train import _name_judge
from paceline.config.evaluation import MTBench
from paceline.errors import PacelineError
from paceline.evaluate.mtbench.judges.keys import may_have_key, name_host
from paceline.evaluate.mtbench.judges.openai_api import OpenAIJudge
from paceline.runs.evaluations import FAILED, JudgeUsage
from warm_process import WarmProcess


@pytest.mark.slow
def test_a_judge_s_faults_lose_and_repeat_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", "k")
    monkeypatch.setattr("openai._base_client.INITIAL_RETRY_DELAY", 0.01)
    monkeypatch.setattr("openai._base_client.MAX_RETRY_DELAY", 0.05)
    server = Server([429, 500, "hang", "cut", "malformed", "no-rating"], 0.3)
    calm = Server([None], 0)
    judge = OpenAIJudge("m", server.url, tmp_path / "cache", timeout=1.0)
    grades = judge.grade(CASES, lambda: None)
    assert len(grades) == 160
    assert max(server.answered.values()) == 1, "a call that had succeeded was made again"
    assert judge.usage == JudgeUsage(calls=160, prompt_tokens=1120, completion_tokens=480)
    assert OpenAIJudge("m", server.url, tmp_path / "cache").grade(CASES, lambda: None) == grades
    assert sum(server.answered.values()) == 160
    expected = OpenAIJudge("m", calm.url, tmp_path / "calm").grade(CASES, lambda: None)
    assert [g for g in grades if g.rating != FAILED] == [
        e for g, e in zip(grades, expected, strict=True) if g.rating != FAILED
    ]
    assert 0 < sum(g.rating == FAILED for g in grades) < 30


GRADER = """
import os, sys
from pathlib import Path
os.environ["OPENAI_API_KEY"] = "k"
sys.path.append(sys.argv[4])
from judge_server import CASES
from paceline.evaluate.mtbench.judges.openai_api import OpenAIJudge
judge = OpenAIJudge("m", sys.argv[1], Path(sys.argv[2]), timeout=1.0)
grades = judge.grade(CASES, lambda: None)
Path(sys.argv[3]).write_text("\\n".join(f"{g.rating} {g.reply}" for g in grades))
"""


@pytest.mark.slow
def test_killed_at_five_moments_it_goes_on_where_it_was(tmp_path: Path) -> None:
    """SIGKILL while 30% of the requests go wrong: what had been answered is not asked again, and the grades are those of a calm run."""
    server, calm = Server([429, 500, "cut", "malformed"], 0.3), Server([None], 0)
    script, tests = tmp_path / "grader.py", Path(judge_server.__file__).parent
    script.write_text(GRADER)

    def start(url: str, cache: str, out: str) -> WarmProcess:
        return WarmProcess(script, url, cache, out, tests, cwd=tmp_path, script=True)

    rng = random.Random(1)
    for number in range(5):
        process = start(server.url, "broken", "out")
        wanted = len(list((tmp_path / "broken").glob("*.json"))) + rng.randint(5, 25)
        while process.poll() is None and len(list((tmp_path / "broken").glob("*.json"))) < wanted:
            time.sleep(0.002)
        assert process.poll() is None, f"done before kill {number + 1}"
        process.kill()
        process.communicate()
    kept = len(list((tmp_path / "broken").glob("*.json")))
    before = -1
    while before != (
        before := sum(server.answered.values())
    ):  # the server still answers what the killed process had asked
        time.sleep(0.5)
    process = start(server.url, "broken", "out")
    process.communicate()
    assert process.returncode == 0
    assert sum(server.answered.values()) - before == 160 - kept, "what was kept was asked again"
    process = start(calm.url, "calm", "expected")
    process.communicate()
    assert process.returncode == 0
    assert (tmp_path / "out").read_text() == (tmp_path / "expected").read_text()


@pytest.mark.parametrize(
    ("url", "named", "sent"),
    [
        (None, "", True),
        ("https://api.openai.com/v1", "", True),
        ("http://api.openai.com/v1", "", False),
        ("https://api.openai.com.evil.net/v1", "", False),
        ("https://api.openai.com@evil.net/v1", "", False),
        ("https://judge.example/v1", "", False),
        ("https://judge.example/v1", "other.example, judge.example", True),
        ("http://127.0.0.1:8000/v1", "127.0.0.1:8000", True),
        ("http://127.0.0.1:8001/v1", "127.0.0.1:8000", False),
    ],
)
def test_a_key_goes_to_openai_and_to_servers_that_the_user_named(
    url: str | None, named: str, sent: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PACELINE_KEY_HOSTS", named)
    assert may_have_key(url) is sent


def test_the_command_line_names_a_host(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PACELINE_KEY_HOSTS", "")
    _name_judge({"eval": {"mtbench": {"judge_url": "https://judge.example:1/v1"}}})
    assert may_have_key("https://judge.example:1/v1")
    assert not may_have_key("https://judge.example:2/v1")


def test_a_server_that_only_a_file_names_gets_no_key(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", "very-secret")
    monkeypatch.delenv("PACELINE_KEY_HOSTS", raising=False)
    server = Server([None], 0)
    OpenAIJudge("m", server.url, tmp_path / "a").grade(CASES[:1], lambda: None)
    name_host(server.url)
    OpenAIJudge("m", server.url, tmp_path / "b").grade(CASES[:1], lambda: None)
    assert server.keys == ["Bearer none", "Bearer very-secret"]
    monkeypatch.delenv("PACELINE_KEY_HOSTS")
    with pytest.raises(
        PacelineError, match="which only a file names; if it shall have it, set PACELINE_KEY_HOSTS=127"
    ):
        OpenAIJudge("m", Server([401], 1).url, tmp_path / "c").grade(CASES[:1], lambda: None)


@pytest.mark.parametrize("url", ["https://me:pw@host/v1", "host/v1", "file:///etc/passwd", "https://"])
def test_an_address_with_a_password_or_of_another_kind_is_refused(url: str) -> None:
    with pytest.raises(ValidationError, match=r"password|not an address"):
        MTBench(judge="openai", judge_model="m", judge_url=url)


def test_a_refused_key_is_one_line_and_never_shown(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", "very-secret")
    with pytest.raises(PacelineError, match="the judge refuses: 401") as caught:
        OpenAIJudge("m", Server([401], 1).url, tmp_path).grade(CASES[:1], lambda: None)
    assert "very-secret" not in str(caught.value)
    assert "very-secret" not in "".join(p.read_text() for p in tmp_path.iterdir())
    monkeypatch.delenv("OPENAI_API_KEY")
    with pytest.raises(PacelineError, match="OPENAI_API_KEY"):
        OpenAIJudge("m", None, tmp_path).grade(CASES[:1], lambda: None)

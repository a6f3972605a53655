"""MT-Bench: the protocol, the judges, and a judge's server that misbehaves."""

import json
import os
import random
import subprocess
import sys
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from paceline.config.evaluation import MTBench
from paceline.errors import PacelineError
from paceline.evaluate.adapters import AdapterSet, load_adapters
from paceline.evaluate.generate import Sampling
from paceline.evaluate.mtbench.converse import converse
from paceline.evaluate.mtbench.judges import Grade, GradingCase, OpenAIJudge, SimpleJudge, open_judge, squash
from paceline.evaluate.mtbench.protocol import (
    FAILED,
    OWN,
    judge_prompt,
    load_templates,
    read_rating,
    template_name,
)
from paceline.evaluate.mtbench.questions import Question, load_questions
from paceline.evaluate.mtbench.run import grade_answers, paired_change, run_mtbench, scores
from paceline.train.study import train_study

CATEGORIES = ("writing", "math", "reasoning", "coding")
QUESTIONS = [
    {"question_id": 900 + i, "category": CATEGORIES[i % 4], "turns": [f"How many legs have {i + 2} cats?", "And with one dog more?"],
     **({"reference": [f"{4 * (i + 2)}", f"{4 * (i + 3)}"]} if i % 4 in (1, 2) else {})}
    for i in range(12)
]  # fmt: skip


@pytest.fixture
def file(tmp_path):
    path = tmp_path / "question.jsonl"
    path.write_text("\n".join(map(json.dumps, QUESTIONS)))
    return path


@pytest.mark.parametrize(
    ("reply", "rating"),
    [
        ("Good. Rating: [[7]]", 7.0),
        ("[[8.5]] or so", 8.5),
        ("Rating: [9]", 9.0),
        ("[[6]] then [[3]]", 6.0),
        ("[2] and [[4]]", 4.0),
        ("Rating: 7", FAILED),
        ("[[ten]]", FAILED),
        ("", FAILED),
    ],
)
def test_ratings_are_read_by_the_two_published_patterns(reply, rating):
    assert read_rating(reply) == rating


@given(st.text())
def test_any_reply_is_read_or_counted(reply):
    assert isinstance(read_rating(reply), float)


def test_references_choose_the_template(file):
    questions = load_questions(str(file))
    assert [template_name(q, 0) for q in questions[:4]] == [
        "single-v1",
        "single-math-v1",
        "single-math-v1",
        "single-v1",
    ]
    asked = judge_prompt(OWN, questions[1], ["twelve", "sixteen"], 1)[1]["content"]
    for text in ("12", "16", "twelve", "sixteen", *questions[1].turns):
        assert text in asked
    assert "sixteen" not in judge_prompt(OWN, questions[1], ["twelve", "sixteen"], 0)[1]["content"]


def test_published_prompts_and_references_are_read_from_files(tmp_path, file):
    rows = [{"name": name, "system_prompt": "S", "prompt_template": "{" + "answer" + "}"} for name in OWN]
    (tmp_path / "judge_prompts.jsonl").write_text("\n".join(map(json.dumps, rows)))
    assert load_templates(str(tmp_path / "judge_prompts.jsonl"))["single-v1"].system == "S"
    (tmp_path / "reference_answer_x.jsonl").write_text(
        json.dumps({"question_id": 903, "choices": [{"turns": ["r1", "r2"]}]})
    )
    assert load_questions(str(tmp_path))[3].reference == ("r1", "r2")
    assert [q.category for q in load_questions(str(tmp_path), 6)] == [
        "writing",
        "math",
        "reasoning",
        "coding",
        "writing",
        "math",
    ]


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("{", "line 1: broken JSON"),
        ('{"turns": ["x"]}', "line 1: no 'question_id' in it"),
        ("", "no question in it"),
    ],
)
def test_questions_that_are_none(tmp_path, text, said):
    (tmp_path / "q.jsonl").write_text(text)
    with pytest.raises(PacelineError) as caught:
        load_questions(str(tmp_path / "q.jsonl"))
    assert said in str(caught.value)


def test_failed_parses_are_counted_and_left_out_of_means():
    questions = [Question(str(i), "math", ("a", "b"), None) for i in range(3)]
    graded = [
        (q, turn, Grade(FAILED if q.id == "0" and turn else 4.0 + turn, ""))
        for q in questions
        for turn in range(2)
    ]
    found = scores(graded)
    assert found["failed"] == 1
    assert found["turns"]["1"]["value"] == 4.0
    assert found["average"]["value"] == pytest.approx((3 * 4 + 2 * 5) / 5)
    better = [(q, turn, Grade(g.rating + 1 if g.rating > 0 else FAILED, "")) for q, turn, g in graded]
    assert paired_change(better, graded)["verdict"] == "better"
    assert paired_change(better, graded)["graded"] == 5
    assert paired_change(graded, graded)["verdict"] == "tie"


@pytest.mark.parametrize(
    ("raw", "score"),
    [(-5, 1), (-10, 1), (-2.5, 3.25), (0, 1), (0.5, 5.5), (1, 10), (2, 4.6), (5, 10), (9, 10)],
)
def test_reward_scores_are_squashed_as_the_script_does(raw, score):
    assert squash(raw) == pytest.approx(score)


# -- a server that misbehaves ---------------------------------------------------------------------------------------------------------------


class Server(ThreadingHTTPServer):
    """Speaks OpenAI's chat API; a share of its requests goes wrong. Counts what it answered well, by what was asked."""

    def __init__(self, faults, share):
        super().__init__(("127.0.0.1", 0), Handler)
        self.faults, self.share, self.rng, self.lock = faults, share, random.Random(0), threading.Lock()
        self.answered = {}
        threading.Thread(target=self.serve_forever, daemon=True).start()

    @property
    def url(self):
        return f"http://127.0.0.1:{self.server_address[1]}/v1"

    def handle_error(self, request, client_address):
        pass


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_POST(self):
        asked = self.rfile.read(int(self.headers["Content-Length"])).decode()
        with self.server.lock:
            fault = (
                self.server.rng.choice(self.server.faults)
                if self.server.rng.random() < self.server.share
                else None
            )
        if fault in (429, 500, 401):
            self.send(
                fault,
                b'{"error": {"message": "no"}}',
                {"Retry-After": "0.01"} if self.server.rng.random() < 0.5 else {},
            )
        elif fault == "hang":
            time.sleep(1.5)
            self.close_connection = True
        elif fault == "cut":
            self.wfile.write(b"HTTP/1.1 200 OK\r\nContent-Length: 500\r\n\r\n{")
            self.close_connection = True
        elif fault == "malformed":
            self.send(200, b'{"choices": [', {})
        else:
            with self.server.lock:
                self.server.answered[asked] = self.server.answered.get(asked, 0) + 1
            text = "no number" if fault == "no-rating" else f"Rating: [[{1 + len(asked) % 10}]]"
            body = {"id": "x", "object": "chat.completion", "created": 1, "model": "m", "choices": [{"index": 0, "finish_reason": "stop", "message": {"role": "assistant", "content": text}}], "usage": {"prompt_tokens": 7, "completion_tokens": 3, "total_tokens": 10}}  # fmt: skip
            self.send(200, json.dumps(body).encode(), {})

    def send(self, status, body, headers):
        self.send_response(status)
        for name, value in {
            "Content-Type": "application/json",
            "Content-Length": str(len(body)),
            **headers,
        }.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *args):
        pass


CASES = [
    GradingCase([{"role": "user", "content": f"grade number {i} " + "." * (i % 17)}], f"q{i}", f"a{i}")
    for i in range(160)
]


def test_a_judge_s_faults_lose_and_repeat_nothing(tmp_path, monkeypatch):
    monkeypatch.setenv("OPENAI_API_KEY", "k")
    monkeypatch.setattr("openai._base_client.INITIAL_RETRY_DELAY", 0.01)
    monkeypatch.setattr("openai._base_client.MAX_RETRY_DELAY", 0.05)
    server = Server([429, 500, "hang", "cut", "malformed", "no-rating"], 0.3)
    calm = Server([None], 0)
    judge = OpenAIJudge("m", server.url, tmp_path / "cache", timeout=1.0)
    grades = judge.grade(CASES, lambda: None)
    assert len(grades) == 160
    assert max(server.answered.values()) == 1, "a call that had succeeded was made again"
    assert judge.spent == {"calls": 160, "prompt_tokens": 1120, "completion_tokens": 480}
    assert OpenAIJudge("m", server.url, tmp_path / "cache").grade(CASES, lambda: None) == grades
    assert sum(server.answered.values()) == 160
    expected = OpenAIJudge("m", calm.url, tmp_path / "calm").grade(CASES, lambda: None)
    assert [g for g in grades if g.rating != FAILED] == [
        e for g, e in zip(grades, expected, strict=True) if g.rating != FAILED
    ]
    assert 0 < sum(g.rating == FAILED for g in grades) < 30


GRADER = """
import sys
from pathlib import Path
from paceline.evaluate.mtbench.judges import GradingCase, OpenAIJudge
cases = [GradingCase([{"role": "user", "content": f"grade number {i} " + "." * (i % 17)}], f"q{i}", f"a{i}") for i in range(160)]
judge = OpenAIJudge("m", sys.argv[1], Path(sys.argv[2]), timeout=1.0)
print("begun", flush=True)
grades = judge.grade(cases, lambda: None)
Path(sys.argv[3]).write_text("\\n".join(f"{g.rating} {g.reply}" for g in grades))
"""


def test_killed_at_five_moments_it_goes_on_where_it_was(tmp_path):
    """SIGKILL while 30% of the requests go wrong: what had been answered is not asked again, and the grades are those of a calm run."""
    server, calm = Server([429, 500, "cut", "malformed"], 0.3), Server([None], 0)
    environment = {**os.environ, "OPENAI_API_KEY": "k"}

    def start(url, cache, out):
        command = [sys.executable, "-c", GRADER, url, str(tmp_path / cache), str(tmp_path / out)]
        process = subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, text=True)
        assert process.stdout.readline() == "begun\n"
        return process

    rng = random.Random(1)
    for number in range(5):
        process = start(server.url, "broken", "out")
        wanted = len(list((tmp_path / "broken").glob("*.json"))) + rng.randint(5, 25)
        while process.poll() is None and len(list((tmp_path / "broken").glob("*.json"))) < wanted:
            time.sleep(0.002)
        assert process.poll() is None, f"done before kill {number + 1}"
        process.kill()
        process.wait()
    kept = len(list((tmp_path / "broken").glob("*.json")))
    before = -1
    while before != (
        before := sum(server.answered.values())
    ):  # the server still answers what the killed process had asked
        time.sleep(0.5)
    assert start(server.url, "broken", "out").wait() == 0
    assert sum(server.answered.values()) - before == 160 - kept, "what was kept was asked again"
    assert start(calm.url, "calm", "expected").wait() == 0
    assert (tmp_path / "out").read_text() == (tmp_path / "expected").read_text()


def test_a_refused_key_is_one_line_and_never_shown(tmp_path, monkeypatch):
    monkeypatch.setenv("OPENAI_API_KEY", "very-secret")
    with pytest.raises(PacelineError, match="the judge refuses: 401") as caught:
        OpenAIJudge("m", Server([401], 1).url, tmp_path).grade(CASES[:1], lambda: None)
    assert "very-secret" not in str(caught.value)
    assert "very-secret" not in "".join(p.read_text() for p in tmp_path.iterdir())
    monkeypatch.delenv("OPENAI_API_KEY")
    with pytest.raises(PacelineError, match="OPENAI_API_KEY"):
        OpenAIJudge("m", None, tmp_path).grade(CASES[:1], lambda: None)


# -- with real runs -------------------------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def adapter_set(tiny_base, sums, tmp_path_factory):
    from paceline.config.load import make_recipe
    from paceline.config.study import Run, Study

    folder = tmp_path_factory.mktemp("cast")
    recipe = make_recipe(
        {"base": tiny_base("qwen3"), "data": sums, "max_length": 256, "lr": 5e-3, "max_steps": 4}, "a"
    )
    train_study(Study(name="cast", runs=[Run(name="a", recipe=recipe)]), folder)
    return load_adapters([folder / "a"], with_base=True)


def test_two_turns_of_every_run_with_the_simple_judge(adapter_set, file, tmp_path):
    questions = load_questions(str(file))
    answers = converse(adapter_set, questions, tmp_path / "answers.jsonl", Sampling(max_new_tokens=12), False)
    assert {len(said) for said in answers.values()} == {2}
    summary = grade_answers(answers, questions, SimpleJudge(adapter_set), OWN, tmp_path, lambda: None)
    again = grade_answers(answers, questions, SimpleJudge(adapter_set), OWN, tmp_path, lambda: None)
    assert summary == again
    assert not summary["comparable_with_published"]
    assert set(summary["runs"]) == {"base", "a"}
    for figures in summary["runs"].values():
        assert (
            1 <= figures["average"]["low"] <= figures["average"]["value"] <= figures["average"]["high"] <= 9
        )
        assert set(figures["categories"]) == set(CATEGORIES)
    assert summary["runs"]["a"]["change"]["graded"] == 24
    lines = (tmp_path / "answers.jsonl").read_text().splitlines(keepends=True)
    (tmp_path / "half.jsonl").write_text("".join(lines[: len(lines) // 2]))
    assert (
        converse(adapter_set, questions, tmp_path / "half.jsonl", Sampling(max_new_tokens=12), False)
        == answers
    )


def test_a_reward_model_reports_raw_and_squashed(adapter_set, tiny_base, tmp_path):
    from transformers import AutoModelForSequenceClassification

    from paceline.data.chat import load_tokenizer

    torch.manual_seed(0)
    AutoModelForSequenceClassification.from_pretrained(tiny_base("qwen3"), num_labels=1).save_pretrained(
        tmp_path
    )
    load_tokenizer("embedded").save_pretrained(tmp_path)
    judge = open_judge(MTBench(judge="reward", judge_model=str(tmp_path)), adapter_set, tmp_path / "cache")
    grades = judge.grade(CASES[:3], lambda: None)
    assert all(g.raw is not None and g.rating == squash(g.raw) for g in grades)
    assert len({g.raw for g in grades}) == 3


def test_a_local_judge_is_asked_greedily(adapter_set, tiny_base, tmp_path):
    judge = open_judge(MTBench(judge="local", judge_model=tiny_base("qwen3")), adapter_set, tmp_path)
    grades = judge.grade(CASES[:2], lambda: None)
    assert [g.rating for g in grades] == [read_rating(g.reply) for g in grades]


@pytest.mark.parametrize(
    ("kind", "model", "said"),
    [("reward", None, "needs judge_model"), ("reward", "/nowhere", "cannot be loaded")],
)
def test_judges_that_are_none(adapter_set, tmp_path, kind, model, said):
    with pytest.raises(PacelineError) as caught:
        open_judge(MTBench(judge=kind, judge_model=model), adapter_set, tmp_path)
    assert said in str(caught.value)


def test_what_the_judge_spent_is_reported(adapter_set, tmp_path, monkeypatch, file):
    monkeypatch.setenv("OPENAI_API_KEY", "k")
    wanted = MTBench(
        lang=str(file),
        questions=2,
        judge="openai",
        judge_model="m",
        judge_url=Server([None], 0).url,
        judge_price="2,10",
        max_new_tokens=4,
    )
    speakers = AdapterSet(
        adapter_set.base,
        adapter_set.chat,
        {name: adapter for name, adapter in adapter_set.adapters.items() if name != "base"},
    )
    first = run_mtbench(speakers, wanted, open_judge(wanted, adapter_set, tmp_path / "replies"), tmp_path)
    turns = 4 * len(speakers.adapters)
    assert first["judge_spent"] == {
        "calls": turns,
        "prompt_tokens": 7 * turns,
        "completion_tokens": 3 * turns,
        "cost": pytest.approx(44e-6 * turns),
    }
    again = run_mtbench(speakers, wanted, open_judge(wanted, adapter_set, tmp_path / "replies"), tmp_path)
    assert again["judge_spent"]["calls"] == 0
    assert again["runs"] == first["runs"]

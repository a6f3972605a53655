"""Bad input: one clear line, exit 2, no traceback, nothing half-written."""

import errno
import json
import os
import shutil
import subprocess
import sys
from collections import namedtuple
from pathlib import Path
from typing import Any

import pytest
from transformers import BertConfig, BertModel

from helpers import MakeBase
from paceline.cli import main as cli

GOOD = {"prompt": "Question?", "completion": "Answer."}


@pytest.fixture
def paceline(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path) -> Any:
    """Runs the command line in this process; returns (exit code, standard error)."""

    def run(*arguments: Any) -> Any:
        monkeypatch.setattr(sys, "argv", ["paceline", *map(str, arguments)])
        with pytest.raises(SystemExit) as caught:
            cli.main()
        return caught.value.code, capsys.readouterr().err

    return run


@pytest.fixture
def train(paceline: Any, tiny_base: MakeBase, tmp_path: Path) -> Any:
    """`paceline train` on given rows; fails unless it is refused in one line with nothing written."""

    def run(rows: Any, *flags: Any, base: Any = None, said: Any = None) -> None:
        data = rows
        if isinstance(rows, list):
            data = tmp_path / "rows.jsonl"
            data.write_text(
                "".join((row if isinstance(row, str) else json.dumps(row)) + "\n" for row in rows)
            )
        runs = tmp_path / "runs"
        code, errors = paceline(
            "train", "--base", base or tiny_base("qwen3"), "--data", data, "--runs", runs, *flags
        )
        lines = [line for line in errors.splitlines() if line.startswith("error: ")]
        assert code == 2, errors
        assert len(lines) == 1, errors
        assert "Traceback" not in errors
        assert not (runs / "run").exists()
        assert said in lines[0]

    return run


def test_one_process_spreads_no_base(train: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("WORLD_SIZE", raising=False)
    train([GOOD] * 8, "--shard-base", said="--shard-base spreads the base over several processes")


@pytest.mark.parametrize(
    "arguments",
    [("fetch-metrics", ""), ("study", "run", "s.yaml", "--runs", ""), ("compare", "runs", "--runs=")],
)
def test_an_empty_argument_is_not_the_folder_that_the_command_runs_in(
    arguments: tuple[str, ...], paceline: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    code, errors = paceline(*arguments)
    assert (code, errors.count("\n"), "empty" in errors) == (2, 1, True)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("number", [errno.EROFS, errno.EACCES, errno.EPERM])
def test_what_the_system_refuses_is_no_fault_of_the_program(
    number: int, paceline: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*arguments: Any, **named: Any) -> None:
        raise OSError(number, os.strerror(number), str(tmp_path / "report.md"))

    monkeypatch.setattr("paceline.api.inspection.write_report", refuse)
    code, errors = paceline("report", tmp_path)
    assert code == 2
    assert errors == (
        f"error: {tmp_path / 'report.md'}: {os.strerror(number)}; let this user write there, or choose "
        "another place\n"
    )


def test_control_characters_of_a_name_reach_no_terminal(paceline: Any) -> None:
    code, errors = paceline("study", "show", "\x1b]8;;http:x\x07\u202e\r.yaml")
    assert code == 2
    assert r"\x1b]8;;http:x\x07\u202e\r.yaml" in errors
    assert "\x1b" not in errors


def test_missing_file(train: Any) -> None:
    train(Path("nowhere.jsonl"), said="data 'nowhere.jsonl': no such file or folder")


def test_broken_json_names_the_line(train: Any) -> None:
    train([GOOD, GOOD, '{"prompt": "x", ', GOOD], said="rows.jsonl line 3: broken JSON")


def test_empty_file(train: Any, tmp_path: Path) -> None:
    (tmp_path / "empty.jsonl").write_text("")
    train(tmp_path / "empty.jsonl", said="the file is empty")


def test_columns_of_no_format(train: Any) -> None:
    train([{"foo": 1}], said="no format has the columns foo (known: strandset: ")


def test_a_row_without_its_column_is_numbered(train: Any) -> None:
    train([GOOD, GOOD, {"prompt": "x"}], said="rows.jsonl line 3: column 'completion' is missing or null")


def test_unknown_role(train: Any) -> None:
    rows = [{"messages": [{"role": "robot", "content": "x"}]}]
    train(rows, said="unknown role 'robot'; known: assistant, developer, system, tool, user")


def test_too_many_conversations_without_an_answer(train: Any) -> None:
    talk = {"messages": [{"role": "user", "content": "x"}]}
    whole = {"messages": [{"role": "user", "content": "x"}, {"role": "assistant", "content": "y"}]}
    train(
        [whole] * 8 + [talk] * 2,
        said="2 of 10 rows cannot be used (2 without an assistant turn)",
    )


def test_all_rows_too_long(train: Any, sums: str) -> None:
    train(Path(sums), "--max-length", 8, said="examples are longer than max_length 8 (the shortest has")


@pytest.mark.parametrize(
    ("flag", "value", "said"),
    [
        ("--lora-r", 0, "field 'lora_r' is 0"),
        ("--lora-alpha", -2, "field 'lora_alpha' is -2"),
        ("--lora-dropout", 1.0, "field 'lora_dropout' is 1.0: input should be less than 1"),
        ("--lr-scheduler", "cosin", "field 'lr_scheduler' is 'cosin'"),
        ("--preset", "smal-batch", "unknown preset 'smal-batch', did you mean 'small-batch'?"),
        ("--target-modules", "qproj", "no linear 'qproj'"),
        ("--format", "alpaca", "format alpaca needs column 'instruction'"),
    ],
)
def test_bad_recipe(train: Any, sums: str, flag: Any, value: Any, said: Any) -> None:
    train(Path(sums), flag, value, said=said)


def test_tokenizer_without_chat_template(train: Any, sums: str, tiny_base: MakeBase, tmp_path: Path) -> None:
    bare = tmp_path / "bare"
    shutil.copytree(tiny_base("qwen3"), bare)
    (bare / "chat_template.jinja").unlink()
    train(Path(sums), base=bare, said="has no chat template; name one")


def test_base_that_is_no_causal_lm(train: Any, sums: str, tmp_path: Path) -> None:
    BertModel(
        BertConfig(
            vocab_size=10, hidden_size=8, num_hidden_layers=1, num_attention_heads=1, intermediate_size=8
        )
    ).save_pretrained(tmp_path / "bert")
    train(Path(sums), base=tmp_path / "bert", said="is a BertModel, not a causal language model")


def test_base_that_does_not_exist(train: Any, sums: str) -> None:
    train(Path(sums), base="nobody/nothing", said="base 'nobody/nothing'")


def test_directory_of_another_recipe_shows_the_difference(
    paceline: Any, tiny_base: MakeBase, sums: str, tmp_path: Path
) -> None:
    arguments = ("train", "--base", tiny_base("qwen3"), "--data", sums, "--max-steps", 1, "--runs", tmp_path)
    assert paceline(*arguments)[0] == 0
    before = (tmp_path / "run" / "recipe.yaml").read_bytes()
    code, errors = paceline(*arguments, "--lr", "1e-3")
    assert code == 2
    assert "belongs to another recipe (lr: 0.0002 there, 0.001 now)" in errors
    assert (tmp_path / "run" / "recipe.yaml").read_bytes() == before


def test_directory_that_is_something_else(
    paceline: Any, tiny_base: MakeBase, sums: str, tmp_path: Path
) -> None:
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "thesis.txt").write_text("precious")
    code, errors = paceline("train", "--base", tiny_base("qwen3"), "--data", sums, "--runs", tmp_path)
    assert (code, "is no run directory" in errors) == (2, True)


def test_full_disk_is_noticed_before_training(train: Any, sums: str, monkeypatch: pytest.MonkeyPatch) -> None:
    usage = namedtuple("usage", "total used free")
    monkeypatch.setattr(shutil, "disk_usage", lambda path: usage(10**9, 10**9 - 1000, 1000))
    train(Path(sums), said="MB free on this disk")


def test_place_that_cannot_be_written(paceline: Any, tiny_base: MakeBase, sums: str) -> None:
    code, errors = paceline("train", "--base", tiny_base("qwen3"), "--data", sums, "--runs", "/proc/paceline")
    assert code == 2
    assert "error: /proc/paceline: cannot be written" in errors


@pytest.mark.slow
def test_debug_shows_the_traceback(tiny_base: MakeBase) -> None:
    command = [sys.executable, "-m", "paceline", "train", "--base", "b", "--data", "nowhere.jsonl", "--debug"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert "Traceback" in done.stderr
    assert "paceline.errors." in done.stderr


@pytest.mark.parametrize(
    ("flags", "said"),
    [
        (["--kl-limit-seq", 0], "field 'kl.tail' is 0: input should be greater than 0"),
        (
            ["--subset", "reasonin"],
            "no subset 'reasonin', did you mean 'reasoning'?; there are general, reasoning, and both",
        ),
        (["--mix-reasoning-ratio", 0.2], "mix_reasoning_ratio needs subset: both"),
        (
            ["--lr-scheduler", "cosine_with_restarts", "--num-cycles", 50, "--max-steps", 20],
            "50 cycles do not fit into 20 steps",
        ),
        (
            ["--lr-scheduler", "warmup_stable_decay", "--warmup-ratio", 0.95, "--max-steps", 20],
            "warm-up and 2 decay steps do not fit into 20",
        ),
        (["--quantize", "nf5"], "field 'quantize' is 'nf5'"),
        (["--early-stop-patience", 2], "early_stop_patience needs eval_steps"),
        (["--train-tasks", "generl"], "no task or phase 'generl', did you mean 'general'"),
        (
            ["--init-from", "elsewhere"],
            "init_from 'elsewhere' is neither a run of this study nor a folder with an adapter",
        ),
    ],
)
def test_features_that_cannot_work(train: Any, flags: Any, said: Any) -> None:
    train("embedded:twix", *flags, base="embedded", said=said)


def test_a_run_cannot_start_from_a_later_one(paceline: Any, tmp_path: Path) -> None:
    path = tmp_path / "study.yaml"
    path.write_text(
        "recipe: {base: embedded, data: 'embedded:rust'}\nruns: [{name: a, init_from: b}, {name: b}]\n"
    )
    code, errors = paceline("study", "run", path)
    assert code == 2
    assert "run a starts from 'b', which must stand before it in the file" in errors


def test_cleaning_into_an_unknown_kind_of_file(paceline: Any, tmp_path: Path) -> None:
    code, errors = paceline("data", "clean", "embedded:rust", "-o", tmp_path / "rows.txt")
    assert (code, errors) == (2, f"error: {tmp_path / 'rows.txt'}: the ending must be .parquet or .jsonl\n")

"""Runs on the hub: what is sent, what a fault costs, and where the token never is."""

import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml
from safetensors.torch import load

from hub import TOKEN
from paceline.errors import ConfigError, PacelineError, RunError
from paceline.export.hub import pull
from paceline.export.push import push

FILES = {
    "README.md",
    "adapter_config.json",
    "adapter_model.safetensors",
    "chat_template.jinja",
    "recipe.yaml",
    "tokenizer.json",
    "tokenizer_config.json",
}


def test_a_run_is_pushed_private_with_its_card_and_pulled_again(
    paceline: Any, hub: Any, studied: Any, tmp_path: Path
) -> None:
    done = paceline("push", studied / "b", "--to", "someone/b")
    assert done.returncode == 0, done.stderr
    repository = hub.repositories["someone/b"]
    assert repository["private"] is True
    assert set(repository["files"]) >= FILES
    assert (
        repository["files"]["adapter_model.safetensors"]
        == (studied / "b" / "adapter" / "adapter_model.safetensors").read_bytes()
    )
    card = repository["files"]["README.md"].decode()
    header = yaml.safe_load(card.split("---")[1])
    assert header["base_model"] == "embedded"
    assert header["library_name"] == "peft"
    for said in ("It is faster.", "Δ from baseline", "Limits", "paceline train recipe.yaml --run-name b"):
        assert said in card
    done = paceline("pull", "someone/b", "-o", tmp_path / "back")
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "back" / "recipe.yaml").read_text() == (studied / "b" / "recipe.yaml").read_text()


def test_a_dry_run_asks_nobody(quick: Any, studied: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("HF_TOKEN")
    result = push(studied / "a", "someone/a", dry_run=True)
    assert set(result.files) >= FILES
    assert (result.repository, result.uploaded) == ("someone/a", False)
    assert quick.asked == []


def test_a_dry_run_loads_neither_torch_nor_transformers(studied: Any) -> None:
    code = (
        "import sys; from pathlib import Path; from paceline.export.push import push;"
        f"push(Path({str(studied / 'a')!r}), 'someone/a', dry_run=True);"
        "print([name for name in ('torch', 'transformers') if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"


@pytest.mark.parametrize("name", ["x", "bad name/x y", "a/b/c", "someone/-x", "someone/x.git", ""])
def test_a_name_that_the_hub_would_refuse_is_refused_at_once(quick: Any, studied: Any, name: str) -> None:
    with pytest.raises(ConfigError, match="cannot be a repository on the hub: ") as caught:
        push(studied / "a", name, dry_run=True)
    assert "\n" not in str(caught.value)
    with pytest.raises(ConfigError):
        pull(name, studied)
    assert quick.asked == []


def test_the_merged_model_is_whole(quick: Any, studied: Any) -> None:
    assert "model.safetensors" in push(studied / "a", "someone/m", merged=True).files
    weights = load(quick.repositories["someone/m"]["files"]["model.safetensors"])
    assert any(name.endswith("q_proj.weight") for name in weights)
    assert not any("lora" in name for name in weights)
    assert "library_name: transformers" in quick.repositories["someone/m"]["files"]["README.md"].decode()


@pytest.mark.parametrize(
    ("faults", "message"),
    [
        ([("POST /api/repos/create", 401)], "does not know the token"),
        ([("POST .*/preupload/.*", 403)], "may not write there"),
        ([("POST .*/commit/.*", 409)], "another upload came between"),
        ([("POST .*/preupload/.*", 429)], None),
        ([("POST .*/commit/.*", 500)], None),
        ([("PUT /blob/.*", 0)], None),
        ([("POST .*/commit/.*", 500)] * 90, "the same command goes on"),
    ],
)
def test_faults_of_the_hub(quick: Any, studied: Any, faults: Any, message: Any) -> None:
    quick.faults += faults
    lines = []
    if message is None:
        push(studied / "a", "someone/a", log=lines.append)
    else:
        with pytest.raises(PacelineError, match=message) as caught:
            push(studied / "a", "someone/a", log=lines.append)
        lines.append(str(caught.value))
    assert TOKEN not in " ".join(lines)
    quick.faults.clear()
    blobs = dict(quick.blobs)
    push(studied / "a", "someone/a")
    assert set(quick.repositories["someone/a"]["files"]) >= FILES
    assert blobs.items() <= quick.blobs.items(), "what the hub had was sent again"


def test_the_token_is_in_no_file_and_without_one_nothing_is_asked(
    quick: Any, studied: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    push(studied / "a", "someone/a")
    assert all(TOKEN.encode() not in data for data in quick.repositories["someone/a"]["files"].values())
    quick.asked.clear()
    monkeypatch.delenv("HF_TOKEN")
    with pytest.raises(PacelineError, match="hf auth login"):
        push(studied / "a", "someone/a")
    assert quick.asked == []


def test_an_unfinished_run_is_not_pushed(quick: Any, tmp_path: Path) -> None:
    with pytest.raises(RunError, match="not finished"):
        push(tmp_path, "someone/a")


@pytest.mark.slow
def test_training_pushes_when_it_ends_and_a_dead_hub_loses_nothing(
    paceline: Any, hub: Any, tmp_path: Path
) -> None:
    flags = "--base embedded --data embedded:rust -n 40 --max-steps 1 --run-name x --push-to-hub --no-check"
    train = ["train", *flags.split()]
    hub.faults += [("POST /api/repos/create", 403)]
    done = paceline(*train)
    assert done.returncode == 2
    assert "paceline push runs/x --to someone/x" in done.stderr
    assert (tmp_path / "runs" / "x" / "adapter" / "adapter_model.safetensors").is_file()
    assert paceline(*train).returncode == 0
    assert "someone/x" in hub.repositories
    assert paceline(*train, token=None).returncode == 2
    refused = paceline(*train, "--hub-model-id", "no account")
    assert (refused.returncode, "cannot be a repository" in refused.stderr) == (2, True)

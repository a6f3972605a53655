"""Runs on the hub: what is sent, what a fault costs, and where the token never is."""

import pytest
import yaml
from hub import TOKEN
from safetensors.torch import load

from paceline.errors import PacelineError
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


def test_a_run_is_pushed_private_with_its_card_and_pulled_again(paceline, hub, studied, tmp_path):
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


def test_a_dry_run_asks_nobody(quick, studied, monkeypatch):
    monkeypatch.delenv("HF_TOKEN")
    assert set(push(studied / "a", "someone/a", dry_run=True)) >= FILES
    assert quick.asked == []


def test_the_merged_model_is_whole(quick, studied):
    assert "model.safetensors" in push(studied / "a", "someone/m", merged=True)
    weights = load(quick.repositories["someone/m"]["files"]["model.safetensors"])
    assert any(name.endswith("q_proj.weight") for name in weights)
    assert not any("lora" in name for name in weights)
    assert "library_name: transformers" in quick.repositories["someone/m"]["files"]["README.md"].decode()


@pytest.mark.parametrize(
    ("faults", "said"),
    [
        ([("POST /api/repos/create", 401)], "does not know the token"),
        ([("POST .*/preupload/.*", 403)], "may not write there"),
        ([("POST .*/commit/.*", 409)], "another upload came between"),
        ([("POST .*/preupload/.*", 429)], None),
        ([("POST .*/commit/.*", 500)], None),
        ([("PUT /blob/.*", 0)], None),
        ([("POST .*/commit/.*", 500)] * 90, "the same command goes on"),
    ],
)  # fmt: skip
def test_faults_of_the_hub(quick, studied, faults, said):
    quick.faults += faults
    told = []
    if said is None:
        push(studied / "a", "someone/a", log=told.append)
    else:
        with pytest.raises(PacelineError, match=said) as caught:
            push(studied / "a", "someone/a", log=told.append)
        told.append(str(caught.value))
    assert TOKEN not in " ".join(told)
    quick.faults.clear()
    blobs = dict(quick.blobs)
    push(studied / "a", "someone/a")
    assert set(quick.repositories["someone/a"]["files"]) >= FILES
    assert blobs.items() <= quick.blobs.items(), "what the hub had was sent again"


def test_the_token_is_in_no_file_and_without_one_nothing_is_asked(quick, studied, monkeypatch):
    push(studied / "a", "someone/a")
    assert all(TOKEN.encode() not in data for data in quick.repositories["someone/a"]["files"].values())
    quick.asked.clear()
    monkeypatch.delenv("HF_TOKEN")
    with pytest.raises(PacelineError, match="hf auth login"):
        push(studied / "a", "someone/a")
    assert quick.asked == []


def test_an_unfinished_run_is_not_pushed(quick, tmp_path):
    with pytest.raises(PacelineError, match="not finished"):
        push(tmp_path, "someone/a")


def test_training_pushes_when_it_ends_and_a_dead_hub_loses_nothing(paceline, hub, tmp_path):
    train = [
        "train",
        "--base",
        "embedded",
        "--data",
        "embedded:rust",
        "-n",
        "40",
        "--max-steps",
        "1",
        "--run-name",
        "x",
        "--push-to-hub",
        "--no-check",
    ]
    hub.faults += [("POST /api/repos/create", 403)]
    done = paceline(*train)
    assert done.returncode == 2
    assert "paceline push runs/x --to someone/x" in done.stderr
    assert (tmp_path / "runs" / "x" / "adapter" / "adapter_model.safetensors").is_file()
    assert paceline(*train).returncode == 0
    assert "someone/x" in hub.repositories
    assert paceline(*train, token=None).returncode == 2

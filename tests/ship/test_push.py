"""Runs on the hub: what is sent, what a fault costs, and where the token never is."""

import json

import pytest
import yaml
from hub import TOKEN
from safetensors.torch import load

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
    assert repository["files"]["adapter_model.safetensors"] == (studied / "b" / "adapter" / "adapter_model.safetensors").read_bytes()
    card = repository["files"]["README.md"].decode()
    header = yaml.safe_load(card.split("---")[1])
    assert header["base_model"] == "embedded"
    assert header["library_name"] == "peft"
    for said in ("It is faster.", "Δ from baseline", "Limits", "paceline train recipe.yaml --run-name b"):
        assert said in card
    done = paceline("pull", "someone/b", "-o", tmp_path / "back")
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "back" / "recipe.yaml").read_text() == (studied / "b" / "recipe.yaml").read_text()


def test_a_dry_run_asks_nobody(paceline, hub, studied):
    done = paceline("push", studied / "a", "--to", "someone/a", "--dry-run", token=None)
    assert done.returncode == 0, done.stderr
    assert set(done.stdout.split()) >= FILES
    assert hub.asked == []


def test_the_merged_model_is_whole(paceline, hub, studied):
    done = paceline("push", studied / "a", "--to", "someone/m", "--merged", "--json")
    assert done.returncode == 0, done.stderr
    assert "model.safetensors" in json.loads(done.stdout)["files"]
    weights = load(hub.repositories["someone/m"]["files"]["model.safetensors"])
    assert any(name.endswith("q_proj.weight") for name in weights)
    assert not any("lora" in name for name in weights)


@pytest.mark.parametrize(
    ("faults", "status", "said"),
    [
        ([("POST /api/repos/create", 401)], 2, "does not know the token"),
        ([("POST .*/preupload/.*", 403)], 2, "may not write there"),
        ([("POST .*/commit/.*", 409)], 2, "another upload came between"),
        ([("POST .*/preupload/.*", 429)], 0, ""),
        ([("POST .*/commit/.*", 500)], 0, ""),
        ([("PUT /blob/.*", 0)], 0, ""),
        ([("POST .*/commit/.*", 500)] * 60, 2, "the same command goes on"),
    ],
)  # fmt: skip
def test_faults_of_the_hub(paceline, hub, studied, faults, status, said):
    hub.faults += faults
    done = paceline("push", studied / "a", "--to", "someone/a")
    assert done.returncode == status, done.stderr
    assert said in done.stderr
    assert TOKEN not in done.stdout + done.stderr
    assert "Traceback" not in done.stderr
    hub.faults.clear()
    blobs = len(hub.blobs)
    again = paceline("push", studied / "a", "--to", "someone/a")
    assert again.returncode == 0, again.stderr
    assert set(hub.repositories["someone/a"]["files"]) >= FILES
    assert len(hub.blobs) == max(blobs, 1)


def test_no_token_is_one_line_and_the_token_is_in_no_file(paceline, hub, studied):
    done = paceline("push", studied / "a", "--to", "someone/a", token=None)
    assert done.returncode == 2
    assert "hf auth login" in done.stderr
    paceline("push", studied / "a", "--to", "someone/a")
    assert all(TOKEN.encode() not in data for data in hub.repositories["someone/a"]["files"].values())


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

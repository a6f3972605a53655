"""A base's tokenizer, copied without transformers: it loads there and gives the same ids."""

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
from transformers import AutoTokenizer

from paceline import embedded
from paceline.errors import ModelError, ServiceError
from paceline.export.tokenizer import copy_tokenizer

TEXT = '<|im_start|>user\nfn main() { println!("Привет, ok?"); }<|im_end|>\n'
TALK = [{"role": "user", "content": "What is a slice?"}, {"role": "assistant", "content": "A view."}]


def check_same(copied: Any, original: Any = embedded.BASE) -> None:
    """The copy's ids, chat and ends are the original's."""
    ours, theirs = AutoTokenizer.from_pretrained(copied), AutoTokenizer.from_pretrained(original)
    assert ours(TEXT)["input_ids"] == theirs(TEXT)["input_ids"]
    assert ours.apply_chat_template(TALK) == theirs.apply_chat_template(TALK)
    assert (ours.eos_token_id, ours.pad_token_id) == (theirs.eos_token_id, theirs.pad_token_id)


@pytest.fixture
def base(tmp_path: Path) -> Any:
    """A base's folder, to be changed."""
    shutil.copytree(embedded.BASE, tmp_path / "base")
    return tmp_path / "base"


@pytest.fixture
def target(tmp_path: Path) -> Any:
    (tmp_path / "target").mkdir()
    return tmp_path / "target"


def test_the_embedded_base(target: Any) -> None:
    files = ["chat_template.jinja", "generation_config.json", "tokenizer.json", "tokenizer_config.json"]
    assert copy_tokenizer("embedded", target) == files
    assert sorted(file.name for file in target.iterdir()) == files
    check_same(target)


def test_templates_in_a_folder_of_their_own(base: Any, target: Any) -> None:
    (base / "additional_chat_templates").mkdir()
    (base / "additional_chat_templates" / "tools.jinja").write_text("{{ messages }}")
    assert "additional_chat_templates/tools.jinja" in copy_tokenizer(str(base), target)
    assert (target / "additional_chat_templates" / "tools.jinja").is_file()


def test_a_tokenizer_whose_class_stands_in_the_model_s_config(base: Any, target: Any) -> None:
    config = json.loads((base / "tokenizer_config.json").read_text())
    del config["tokenizer_class"]
    (base / "tokenizer_config.json").write_text(json.dumps(config))
    copy_tokenizer(str(base), target)
    check_same(target, base)


def test_a_base_on_the_hub_and_then_in_the_cache(
    quick: Any, target: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path / "cache"))
    files = {file.name: file.read_bytes() for file in embedded.BASE.iterdir() if file.is_file()}
    quick.repositories["someone/base"] = {"private": False, "files": files}
    copy_tokenizer("someone/base", target)
    check_same(target)
    assert not any("safetensors" in path for _, path, *_ in quick.asked)
    quick.asked.clear()
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    shutil.rmtree(target)
    target.mkdir()
    copy_tokenizer("someone/base", target)
    check_same(target)
    with pytest.raises(ServiceError, match="the tokenizer of someone/other is not in the hub's cache"):
        copy_tokenizer("someone/other", target)
    assert quick.asked == []
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", False)
    with pytest.raises(ServiceError, match="refuses to give the tokenizer of someone/other"):
        copy_tokenizer("someone/other", target)


def test_a_base_without_a_tokenizer_is_refused_in_a_line(base: Any, target: Any) -> None:
    (base / "tokenizer.json").unlink()
    with pytest.raises(ModelError, match="no tokenizer in"):
        copy_tokenizer(str(base), target)
    with pytest.raises(ModelError, match="neither a folder nor a hub id"):
        copy_tokenizer(str(base / "gone"), target)

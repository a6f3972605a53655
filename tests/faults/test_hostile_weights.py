"""Safetensors files that somebody has made to hurt: one line, and no memory beyond the file's own size."""

from __future__ import annotations

import json
import shutil
import struct
import tracemalloc
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from transformers import AutoModelForCausalLM

from helpers import CPU, MakeBase, MakeRecipe
from hub_fixtures import hub, quick
from paceline.errors import ModelError, PacelineError
from paceline.model.base import Base, load_base

__all__ = ["hub", "quick"]

Header = dict[str, dict[str, object]]


def parts(content: bytes) -> tuple[Header, bytes]:
    """The header of a safetensors file, and its data."""
    (length,) = struct.unpack("<Q", content[:8])
    return json.loads(content[8 : 8 + length]), content[8 + length :]


def joined(header: object, data: bytes, length: int | None = None) -> bytes:
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    return struct.pack("<Q", len(text) if length is None else length) + text + data


def change(**fields: object) -> Callable[[bytes], bytes]:
    """Other fields of the first tensor."""

    def changed(content: bytes) -> bytes:
        header, data = parts(content)
        first = next(name for name in header if name.endswith(".weight"))
        return joined(header | {first: header[first] | fields}, data)

    return changed


def overlapping(content: bytes) -> bytes:
    """Two tensors that claim the same bytes."""
    header, data = parts(content)
    first, second = sorted(
        (name for name in header if name != "__metadata__"), key=lambda name: str(header[name]["shape"])
    )[:2]
    return joined(header | {second: header[first]}, data)


DAMAGES: dict[str, Callable[[bytes], bytes]] = {
    "empty": lambda content: b"",
    "seven bytes": lambda content: content[:7],
    "header without end": lambda content: joined(parts(content)[0], b"", 2**63),
    "header past the file": lambda content: joined(parts(content)[0], b"", 10**9),
    "giant header": lambda content: joined(
        parts(content)[0] | {"__metadata__": {"x": "y" * 101_000_000}}, parts(content)[1]
    ),
    "header of 17 MB": lambda content: joined(
        parts(content)[0] | {"__metadata__": {"x": "y" * 17_000_000}}, parts(content)[1]
    ),
    "keys twice": lambda content: joined(
        json.dumps(header := parts(content)[0]).encode()[:-1] + b"," + json.dumps(header).encode()[1:], b""
    ),
    "no object": lambda content: joined([1, 2], b""),
    "deep header": lambda content: joined(b"[" * 100_000, b""),
    "not UTF-8": lambda content: joined(b"\xff" * 64, b""),
    "no data": lambda content: joined(parts(content)[0], b""),
    "trailing data": lambda content: content + b"\0" * 16,
    "offsets out of the file": change(data_offsets=[0, 10**15]),
    "offsets backwards": change(data_offsets=[64, 0]),
    "negative offsets": change(data_offsets=[-64, 0]),
    "overlapping": overlapping,
    "enormous shape": change(shape=[2**40, 2**40]),
    "shape that wraps round": change(shape=[2**63, 2]),
    "negative shape": change(shape=[-1, -64]),
    "shape of another size": change(shape=[3, 5]),
    "unknown type": change(dtype="F7"),
    "type of another size": change(dtype="F64"),
    "integers": change(dtype="I32"),
}


@pytest.fixture
def saved(loaded_base: Base, recipe: MakeRecipe, tmp_path: Path) -> Path:
    loaded_base.new_adapter(recipe()).save(tmp_path / "adapter", recipe())
    return tmp_path / "adapter" / "adapter_model.safetensors"


@pytest.mark.parametrize("damage", DAMAGES)
def test_an_adapter_of_a_stranger_is_refused_in_a_line(
    damage: str, saved: Path, loaded_base: Base, recipe: MakeRecipe
) -> None:
    saved.write_bytes(DAMAGES[damage](saved.read_bytes()))
    adapter = loaded_base.new_adapter(recipe())
    tracemalloc.start()
    with pytest.raises(PacelineError) as refused:
        adapter.load(saved.parent)
    most = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert "\n" not in str(refused.value)
    assert str(saved) in str(refused.value)
    assert most < 50e6


@pytest.mark.parametrize("damage", DAMAGES)
def test_a_base_of_a_stranger_is_refused_in_a_line(damage: str, tiny_base: MakeBase, tmp_path: Path) -> None:
    shutil.copytree(tiny_base(), tmp_path / "base")
    weights = tmp_path / "base" / "model.safetensors"
    weights.write_bytes(DAMAGES[damage](weights.read_bytes()))
    with pytest.raises(PacelineError) as refused:
        load_base(str(tmp_path / "base"), CPU)
    assert "\n" not in str(refused.value)
    assert str(tmp_path / "base") in str(refused.value)


@pytest.mark.parametrize("damage", ["header of 17 MB", "enormous shape", "integers", "index", "none"])
def test_a_base_of_the_hub_is_checked_before_it_is_loaded(
    damage: str, tiny_base: MakeBase, quick: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    files = {file.name: file.read_bytes() for file in Path(tiny_base()).iterdir() if file.is_file()}
    weights = files.pop("model.safetensors")
    if damage == "index":
        index = {"metadata": {}, "weight_map": {"model.norm.weight": "../../outside.safetensors"}}
        files["model.safetensors.index.json"] = json.dumps(index).encode()
    else:
        files["model.safetensors"] = DAMAGES.get(damage, bytes)(weights)
    quick.repositories["some/base"] = {"private": False, "files": files}
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path / "cache"))
    if damage == "none":
        assert load_base("some/base", CPU).name == "some/base"
        return
    monkeypatch.setattr(AutoModelForCausalLM, "from_pretrained", pytest.fail)
    with pytest.raises(ModelError, match=r"model\.safetensors") as refused:
        load_base("some/base", CPU)
    assert "\n" not in str(refused.value)


@pytest.mark.parametrize(
    "index",
    [
        {"metadata": {}, "weight_map": {"model.norm.weight": "../../../outside.safetensors"}},
        {"metadata": {}, "weight_map": {"model.norm.weight": "/etc/passwd"}},
        {"metadata": {}, "weight_map": {"model.norm.weight": "missing.safetensors"}},
        {"metadata": {}, "weight_map": []},
        {"weight_map": {"model.norm.weight": 7}},
        [],
    ],
)
def test_an_index_that_names_other_files_is_refused(
    index: object, tiny_base: MakeBase, tmp_path: Path
) -> None:
    shutil.copytree(tiny_base(), tmp_path / "deep" / "er" / "base")
    folder = tmp_path / "deep" / "er" / "base"
    shutil.copy(folder / "model.safetensors", tmp_path / "outside.safetensors")
    (folder / "model.safetensors").rename(folder / "shard.safetensors")
    (folder / "model.safetensors.index.json").write_text(json.dumps(index))
    with pytest.raises(PacelineError) as refused:
        load_base(str(folder), CPU)
    assert "\n" not in str(refused.value)


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(at=st.integers(0, 600), byte=st.integers(0, 255))
def test_any_byte_of_a_header_may_be_another(
    at: int, byte: int, saved: Path, loaded_base: Base, recipe: MakeRecipe
) -> None:
    """It loads, or it is refused: nothing else."""
    content = bytearray(saved.read_bytes())
    whole, content[at] = bytes(content), byte
    saved.write_bytes(content)
    said = ""
    try:
        loaded_base.new_adapter(recipe()).load(saved.parent)
    except PacelineError as refused:
        said = str(refused)
    finally:
        saved.write_bytes(whole)
    assert "\n" not in said

"""The files of a base's weights: which they are, and that they hold what weights can be."""

from __future__ import annotations

from pathlib import Path

from transformers.utils.hub import cached_file, cached_files

from paceline.errors import ModelError
from paceline.model.stored_tensors import open_tensors
from paceline.runs.files import read_json

# What transformers looks for, in its order: one file, or the index of several.
_WEIGHTS = (
    "model.safetensors",
    "model.safetensors.index.json",
    "pytorch_model.bin",
    "pytorch_model.bin.index.json",
)
_MISSING_IS_FINE = {"_raise_exceptions_for_missing_entries": False}


def base_folder(path: str) -> Path:
    """Where the files of a base lie: its folder, or that of the hub's cache.

    Raises:
        ModelError: a base without files on this machine.
    """
    if Path(path).is_dir():
        return Path(path)
    try:
        return Path(str(cached_file(path, "config.json", local_files_only=True))).parent
    except OSError as error:
        raise ModelError(f"base {path!r}: its files are not on this machine") from error


def fetch_weights(path: str) -> Path:
    """The folder of a base whose weights are on this machine and checked, after a download if need be.

    All files are of one revision; no weight is loaded.

    Raises:
        ModelError: neither here nor on the hub; an index that is none or names files elsewhere; a tensor
            that holds no floating-point numbers, or a file that cannot be read.
    """
    folder = _download(path)
    _refuse_odd_weights(folder)
    return folder


def _download(path: str) -> Path:
    if Path(path).is_dir():
        return Path(path)
    try:
        # what transformers reads beside the weights, so that the folder is whole
        folder = Path(str(cached_file(path, "config.json"))).parent
        cached_files(path, ["generation_config.json"], revision=folder.name, **_MISSING_IS_FINE)
        for name in _WEIGHTS:
            file = cached_files(path, [name], revision=folder.name, **_MISSING_IS_FINE)
            if file and name.endswith(".json"):
                cached_files(path, _shards(folder / name), revision=folder.name)
            if file:
                break
    except OSError as error:
        reason = next((line for line in str(error).splitlines() if line.strip()), type(error).__name__)
        raise ModelError(f"base {path!r}: its weights cannot be loaded: {reason}") from error
    return folder


def weight_files(folder: Path) -> list[Path]:
    """The weight files of a base, with their index first if there is one.

    Raises:
        ModelError: none, or an index that is none or names files elsewhere.
    """
    for name in _WEIGHTS:
        file = folder / name
        if file.is_file() and file.suffix != ".json":
            return [file]
        if file.is_file():
            return [file, *(folder / shard for shard in _shards(file))]
    raise ModelError(f"{folder}: no weights there (no {_WEIGHTS[0]})")


def _refuse_odd_weights(folder: Path) -> None:
    """Refuses weights that are no floating-point numbers, which would be read as if they were.

    A base that was quantized when it was saved stores other types; its loader knows them.

    Raises:
        ModelError: with the file and the tensor; a file that cannot be read.
    """
    quantized = "quantization_config" in read_json(folder / "config.json")
    for file in weight_files(folder):
        if file.suffix != ".safetensors":
            continue
        with open_tensors(file) as stored:
            weights = [key for key in stored.keys() if key.endswith(".weight")]  # noqa: SIM118 - no dict
            types = {key: stored.get_slice(key).get_dtype() for key in weights}
        odd = [key for key, kind in types.items() if not kind.startswith(("F", "BF"))]
        if odd and not quantized:
            raise ModelError(f"{file}: the tensor {odd[0]} holds {types[odd[0]]}, not floating-point numbers")


def _shards(index: Path) -> list[str]:
    try:
        shards = sorted(set(read_json(index)["weight_map"].values()))
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise ModelError(f"{index}: no index of weights ({error}); fetch the base again") from error
    if elsewhere := [name for name in shards if not isinstance(name, str) or Path(name).name != name]:
        raise ModelError(f"{index}: names a file outside its folder: {elsewhere[0]!r}")
    return shards

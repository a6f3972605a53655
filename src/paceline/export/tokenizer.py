"""A base's tokenizer, copied file by file: needs neither torch nor transformers."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

from huggingface_hub import HfApi, constants, get_token
from huggingface_hub.errors import LocalEntryNotFoundError

from paceline import embedded
from paceline.errors import ModelError, ServiceError
from paceline.export.hub import Log, call_hub, silent, why_invalid
from paceline.runs.files import read_json

# What a tokenizer is made from; one of them is needed.
_VOCABULARIES = ("tokenizer.json", "tokenizer.model", "spiece.model", "vocab.json", "vocab.txt")
# What stands beside it.
_COMPANIONS = (
    "tokenizer_config.json",
    "special_tokens_map.json",
    "added_tokens.json",
    "merges.txt",
    "chat_template.jinja",
    "chat_template.json",
    "additional_chat_templates/*.jinja",
    "generation_config.json",
)


def copy_tokenizer(base: str, folder: Path, log: Log = silent) -> list[str]:
    """Copies the files of a base's tokenizer, its chat template and its generation settings as they are.

    Args:
        base: a folder, `embedded`, or a hub id, whose files come from the cache or the hub.

    Returns:
        The files' names.

    Raises:
        ModelError: no tokenizer there.
        ServiceError: the hub cannot be reached and the cache does not have it.
    """
    source = _locate(base, log)
    files = [file for pattern in (*_VOCABULARIES, *_COMPANIONS) for file in sorted(source.glob(pattern))]
    if not any(file.name in _VOCABULARIES for file in files):
        raise ModelError(f"base {base!r}: no tokenizer in {source} (tokenizer.json, vocab.json, …)")
    names = [file.relative_to(source).as_posix() for file in files]
    for file, name in zip(files, names, strict=True):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(file, folder / name)
    if "tokenizer.json" in names:
        _name_class(folder / "tokenizer_config.json")
    return sorted({*names, *(["tokenizer_config.json"] if "tokenizer.json" in names else [])})


def _locate(base: str, log: Log) -> Path:
    if base == "embedded":
        return embedded.BASE
    if Path(base).is_dir():
        return Path(base)
    if why_invalid(base):
        raise ModelError(f"base {base!r}: no tokenizer, for it is neither a folder nor a hub id")
    api = HfApi(token=get_token())
    patterns = [*_VOCABULARIES, *_COMPANIONS]

    def download() -> str:
        return api.snapshot_download(base, allow_patterns=patterns)

    if not constants.HF_HUB_OFFLINE:
        return Path(call_hub(f"give the tokenizer of {base}", log, download))
    try:
        return Path(download())
    except LocalEntryNotFoundError as error:
        raise ServiceError(
            f"the tokenizer of {base} is not in the hub's cache, and HF_HUB_OFFLINE is set"
        ) from error


def _name_class(path: Path) -> None:
    """Names the tokenizer's class where the base leaves that to config.json, which an adapter lacks."""
    try:
        config = dict(read_json(path)) if path.is_file() else {}
    except (ValueError, TypeError) as error:
        raise ModelError(f"{path}: cannot be read as a tokenizer's settings ({error})") from error
    if "tokenizer_class" not in config:
        config["tokenizer_class"] = "PreTrainedTokenizerFast"
        path.write_text(json.dumps(config, indent=2, ensure_ascii=False) + "\n")

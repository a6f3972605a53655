"""Lines of trainers' logs as named figures: one small parser for each way of writing them."""

from __future__ import annotations

import ast
import re
from collections.abc import Callable, Iterator

from paceline.doctor.logs.entries import WRAPPED, Entry
from paceline.runs.files import parse_json

_ANSI = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]|\x1b\][^\x07]*\x07")
_DICT = re.compile(r"\{[^{}]*\}")
_NUMBER = r"[-+]?(?:\d+\.?\d*(?:[eE][-+]?\d+)?|\.\d+(?:[eE][-+]?\d+)?|nan|inf|infinity)"
_BARE = re.compile(r"(?<=[:\s(])([-+]?(?:nan|inf|infinity))\b(?!['\"])", re.IGNORECASE)
_MLX = re.compile(rf"Iter (\d+): (Train|Val) loss ({_NUMBER})(.*)", re.IGNORECASE)
_MLX_RATE = re.compile(rf"Learning Rate ({_NUMBER})", re.IGNORECASE)
_TORCHTUNE = re.compile(rf"Step (\d+) \| (.*\bloss:{_NUMBER}.*)", re.IGNORECASE)
_NEMO = re.compile(r"(?:Training epoch|Epoch) (\d+),? .*?iteration (\d+)/(\d+)(.*)", re.IGNORECASE)
_PAIR = re.compile(rf"([\w/]+)\s*[:=]\s*({_NUMBER})(?![\w.])", re.IGNORECASE)
# What a line looks like that holds a loss, whether or not we can read it.
_HAS_LOSS = re.compile(rf"loss\b\W{{0,6}}\s*[\w.]*\(?\s*{_NUMBER}", re.IGNORECASE)


def entries(line: str) -> Iterator[Entry]:
    """The figures of one line, by the names that its trainer gives them; nothing for any other line."""
    text = _ANSI.sub("", line)
    for parse in _PARSERS:
        if found := parse(text):
            yield from found
            return


def looks_like_figures(line: str) -> bool:
    """Whether a line seems to hold a loss."""
    return bool(_HAS_LOSS.search(_ANSI.sub("", line)))


def _json(line: str) -> list[Entry]:
    text = line.strip()
    if not text.startswith("{"):
        return []
    try:
        entry = parse_json(text)
    except ValueError:
        return []
    return [entry] if isinstance(entry, dict) and _tells(entry) else []


def _dicts(line: str) -> list[Entry]:
    """Dicts as Python prints them, with the numbers of numpy and torch."""
    found: list[Entry] = []
    for match in _DICT.finditer(line):
        if "loss" not in match[0]:
            continue
        try:
            entry = ast.literal_eval(_BARE.sub(r"'\1'", WRAPPED.sub(r"\1", match[0])))
        except (ValueError, SyntaxError, MemoryError, RecursionError):
            continue
        if isinstance(entry, dict) and _tells(entry):
            found.append({str(name): value for name, value in entry.items()})
    return found


def _mlx(line: str) -> list[Entry]:
    """mlx-lm: Iter 10: Train loss 2.104, Learning Rate 1.000e-05, It/sec 1.2, …"""
    if not (match := _MLX.search(line)):
        return []
    step, kind, loss, rest = match.groups()
    if kind.lower() == "val":
        # the first one comes before any step
        return [{"step": 0 if int(step) == 1 else int(step), "val_loss": loss}]
    rate = _MLX_RATE.search(rest)
    return [{"step": int(step), "loss": loss, **({"lr": rate[1]} if rate else {})}]


def _torchtune(line: str) -> list[Entry]:
    """torchtune's disk log: Step 1 | loss:1.2 lr:0.0003 tokens_per_second_per_gpu:900"""
    if not (match := _TORCHTUNE.search(line)):
        return []
    return [{**dict(_PAIR.findall(match[2])), "step": int(match[1])}]


def _nemo(line: str) -> list[Entry]:
    """NeMo: Training epoch 0, iteration 9/99 | lr: 1e-05 | global_step: 9 | reduced_train_loss: 1.2 | …"""
    if not (match := _NEMO.search(line)):
        return []
    figures = dict(_PAIR.findall(match[4]))
    step = {"step": int(match[2]) + 1} if "global_step" not in figures else {}
    entry = {**figures, **step, "max_steps": int(match[3]) + 1}
    return [entry] if _tells(entry) else []


_PARSERS: tuple[Callable[[str], list[Entry]], ...] = (_json, _dicts, _mlx, _torchtune, _nemo)


def _tells(entry: Entry) -> bool:
    return any("loss" in str(name) for name in entry)

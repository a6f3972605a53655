"""Rows for tokens that a base does not have: each begins as the mean of the rows that are there."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from transformers import PreTrainedModel


@torch.no_grad()
def add_token_rows(model: PreTrainedModel, ids: Sequence[int]) -> None:
    """Gives the rows of new tokens the mean of those below the first of them, in either end.

    Embeddings that have no spare rows (Qwen3's have) are enlarged. Nothing is drawn at random: a base has the
    same rows whenever it is loaded.
    """
    if not ids:
        return
    if max(ids) >= model.get_input_embeddings().weight.shape[0]:
        model.resize_token_embeddings(max(ids) + 1, mean_resizing=False)
    ends: list[Any] = [model.get_input_embeddings(), model.get_output_embeddings()]
    for weight in {id(end.weight): end.weight for end in ends if end is not None}.values():
        weight[list(ids)] = weight[: min(ids)].double().mean(0).to(weight.dtype)

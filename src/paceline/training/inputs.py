"""The digests of all that a prepared run will be trained with."""

from __future__ import annotations

from pathlib import Path

from paceline.config.recipe import SCHEDULERS
from paceline.data.tokenizer_digest import template_digest, tokenizer_digest
from paceline.model.digest import base_digest
from paceline.runs.digests import file_digest, value_digest
from paceline.runs.inputs import Inputs
from paceline.training.checkpoint import FORMAT
from paceline.training.prepare import Prepared, Preparer
from paceline.training.schedule import learning_rate
from paceline.version import __version__


def gather_inputs(prepared: Prepared, preparer: Preparer, parent: Path | None) -> Inputs:
    """The inputs as they are now; the base's files are on this machine.

    Args:
        parent: what the run starts from, as `find_parent` gives it. A run of the same study is no input: it
            has inputs of its own.
    """
    recipe, base, chat = (
        prepared.recipe,
        base_digest(prepared.recipe.base),
        preparer.chat_of(prepared.recipe),
    )
    weights = None if parent is None else parent / "adapter_model.safetensors"
    return Inputs(
        version=__version__,
        checkpoint_format=FORMAT,
        base_weights=base.weights,
        base_config=base.config,
        tokenizer=tokenizer_digest(chat),
        template=template_digest(chat),
        train_rows=preparer.rows_digest(prepared.dataset, prepared.split.train),
        held_out_rows=preparer.rows_digest(prepared.dataset, prepared.split.eval),
        init_from=file_digest(weights) if weights is not None and weights.is_file() else "",
        teacher=base_digest(recipe.distill.teacher).weights if recipe.distill else "",
        schedule=_rates(prepared),
    )


def _rates(prepared: Prepared) -> str:
    """Of a schedule that is somebody's own function: its rates."""
    if prepared.recipe.lr_scheduler in SCHEDULERS:
        return ""
    rate = learning_rate(prepared.recipe, prepared.plan)
    return value_digest([rate(step) for step in range(prepared.plan.total_steps)])

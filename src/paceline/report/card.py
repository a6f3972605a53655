"""The model card of a run: what it was trained on and how, what it reached against the others, how to use it and to train it again."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import yaml

from paceline.config.recipe import Recipe
from paceline.report.collect import gather
from paceline.report.conclusions import conclusions
from paceline.report.export import markdown_environment
from paceline.version import __version__


def model_card(run: Path, name: str, merged: bool) -> str:
    """The card's Markdown with the hub's YAML header. A run inside a study's folder is shown among that study's runs."""
    folder = run.resolve().parent if (run.resolve().parent / "study.yaml").is_file() else run
    study = gather(folder)
    facts = next(found for found in study.runs if found.name == run.resolve().name)
    content = {
        "study": study, "run": facts, "name": name, "merged": merged, "version": __version__, "header": _header(facts.recipe, name, merged),
        "sentences": [sentence for sentence in conclusions(study) if facts.name in sentence],
    }  # fmt: skip
    return markdown_environment().get_template("card.md.jinja").render(content)


def _header(recipe: Recipe, name: str, merged: bool) -> str:
    fields: dict[str, Any] = {
        "base_model": recipe.base,
        "pipeline_tag": "text-generation",
        "tags": ["paceline", "lora", "sft"],
    }
    fields |= {"library_name": "transformers" if merged else "peft", "model_name": name.split("/")[-1]}
    sources = {part.source for part in recipe.data.parts()}
    if named := sorted(
        s
        for s in sources
        if s and s.count("/") == 1 and not s.startswith((".", "/", "~")) and "." not in s.split("/")[-1]
    ):
        fields["datasets"] = named
    return yaml.safe_dump(fields, sort_keys=False, allow_unicode=True).strip()

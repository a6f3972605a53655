"""The model card of a run: data, recipe, results, how to use it and how to train it again."""

from __future__ import annotations

from pathlib import Path

import yaml

from paceline.config.recipe import Recipe
from paceline.report.collect import collect_study
from paceline.report.conclusions import conclusions_about
from paceline.report.export import markdown_environment
from paceline.version import __version__


def model_card(run: Path, name: str, merged: bool) -> str:
    """The card's Markdown with the hub's YAML header. A run of a study is shown among the study's runs."""
    parent = run.resolve().parent
    study = collect_study(parent if (parent / "study.yaml").is_file() else run)
    facts = next(facts for facts in study.runs if facts.name == run.resolve().name)
    recipe = next(group.name for group in study.recipes if facts.name in [d.name for d in group.directories])
    return (
        markdown_environment()
        .get_template("card.md.jinja")
        .render(
            study=study,
            run=facts,
            name=name,
            merged=merged,
            version=__version__,
            header=_header(facts.recipe, name, merged),
            recipe=recipe,
            sentences=conclusions_about(study, recipe),
        )
    )


def _header(recipe: Recipe, name: str, merged: bool) -> str:
    fields: dict[str, object] = {
        "base_model": recipe.base,
        "pipeline_tag": "text-generation",
        "tags": ["paceline", "lora", "sft"],
        "library_name": "transformers" if merged else "peft",
        "model_name": name.split("/")[-1],
    }
    sources = {part.source for part in recipe.data.parts() if part.source}
    if on_hub := sorted(filter(_is_hub_id, sources)):
        fields["datasets"] = on_hub
    return yaml.safe_dump(fields, sort_keys=False, allow_unicode=True).strip()


def _is_hub_id(source: str) -> bool:
    """Whether a source is a data set on the hub, owner/name, and no local file."""
    if source.count("/") != 1 or source.startswith((".", "/", "~")):
        return False
    return "." not in source.split("/")[-1]

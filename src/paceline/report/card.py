"""The model card of a run: data, recipe, results, how to use it and how to train it again."""

from __future__ import annotations

from pathlib import Path

import yaml

from paceline.config.recipe import Recipe
from paceline.report.collect import collect_study
from paceline.report.conclusions import conclusions_about
from paceline.report.export import markdown_environment
from paceline.runs.study import read_study_record
from paceline.version import __version__


def model_card(run: Path, name: str, merged: bool, noise: Path | None = None) -> str:
    """The card's Markdown with the hub's YAML header. A run of a study is shown among the study's runs.

    `noise` is an earlier study, as in `collect_study`.
    """
    parent = run.resolve().parent
    study = collect_study(parent if (parent / "study.yaml").is_file() else run, noise)
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
            figures=[figure for figure in study.published if figure.run == facts.name],
            sentences=[*_replicate_note(run), *conclusions_about(study, recipe)],
        )
    )


def _replicate_note(run: Path) -> list[str]:
    """Which of how many replicates a run is; nothing where it is the only one."""
    entries = read_study_record(run.resolve().parent).runs
    own = next((entry for entry in entries if entry.name == run.resolve().name), None)
    count = sum(entry.recipe_name == own.recipe_name for entry in entries) if own else 1
    if own is None or count == 1:
        return []
    return [
        f"This is the replicate with seed {own.seed}, one of {count} of the recipe {own.recipe_name}; "
        "figures of a recipe are means over its replicates."
    ]


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

"""Replicates are folded into one row a recipe; noise of an earlier study says the same wherever it is used."""

import json
from pathlib import Path

import numpy as np
import pytest
import yaml
from typer.testing import CliRunner

from losses import example_losses
from paceline.api.comparison import compare
from paceline.cli.main import app
from paceline.config.load import dump_recipe, make_recipe
from paceline.report.card import model_card
from paceline.report.collect import collect_study
from paceline.report.export import write_report
from paceline.runs.directory import RunDirectory, RunStatus
from paceline.runs.evaluations import RunForgetting
from paceline.runs.events import EventLog, StartEvent, TokenLengths
from paceline.runs.records import write_record
from paceline.stats.paired import paired_difference

EXAMPLES = 120
START = StartEvent(
    length=TokenLengths(p50=5, p95=9, p99=9, max=9), examples=40, dropped_no_assistant=0, truncated=0, answers_lost=0,
    train=30, eval=10, total_steps=112, steps_per_epoch=112,
)  # fmt: skip


def make_study(folder: Path, means: dict[str, float], seeds: int, base: str = "embedded") -> Path:
    """A study as training leaves it; losses are drawn around `{recipe: its mean}`, forgetting is measured."""
    random = np.random.default_rng(len(means))
    hard = np.random.default_rng(7).gamma(2.0, 5.0, EXAMPLES)
    entries = []
    for rank, (recipe, mean) in enumerate(means.items()):
        for seed in range(seeds):
            name = recipe if seed == 0 else f"{recipe}-seed{seed}"
            directory = RunDirectory(folder / name)
            directory.eval.mkdir(parents=True)
            fields = {"base": base, "data": "rows.jsonl", "seed": seed, "lora_r": 8 * (rank + 1)}
            directory.recipe_file.write_text(dump_recipe(make_recipe(fields, "test")))
            directory.set_status(RunStatus(state="finished", step=112, total_steps=112, seconds=1.0))
            log = EventLog(directory.events)
            log.write(START)
            log.close()
            values = hard + mean + random.normal(0, 0.05) + random.normal(0, 0.3, EXAMPLES)
            losses, before = example_losses(values), example_losses(hard + 5)
            for stem, own in (
                ("final", losses),
                ("base", before),
                ("forgetting", losses),
                ("forgetting-base", before),
            ):
                own.save(directory.eval / f"{stem}.parquet")
            change = paired_difference(losses.loss, before.loss, losses.tokens, better="lower")
            forgot = RunForgetting(
                rows=EXAMPLES, source="general", base=before.summary(), run=losses.summary(), change=change
            )
            write_record(directory.eval / "forgetting.json", forgot)
            entries.append({"name": name, "recipe": recipe, "seed": seed})
    record = {"study": folder.name, "runs": entries}
    (folder / "study.yaml").write_text(yaml.safe_dump(record))
    return folder


@pytest.fixture(scope="module")
def replicated(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_study(
        tmp_path_factory.mktemp("r") / "three", {"plain": 0.0, "good": -1.0, "twin": 0.0}, seeds=3
    )


def test_every_table_has_one_row_a_recipe_and_its_seeds_beside_it(replicated: Path, tmp_path: Path) -> None:
    markdown, page = write_report(collect_study(replicated), tmp_path)
    text = markdown.read_text()
    for heading in ("Recipes", "Results", "What was forgotten"):
        section = text.split(f"## {heading}\n")[1].split("\n## ")[0]
        rows = [line for line in section.splitlines() if line.startswith("| ") and "×" in line]
        assert [row.split(" |")[0] for row in rows] == ["| plain × 3", "| good × 3", "| twin × 3"], heading
        assert "seed2" not in section
    assert "| plain × 3, good × 3, twin × 3 | 30 | 10 |" in text, "the same data, once"
    forgotten = text.split("## What was forgotten")[1]
    assert "\ngood: seed 0: " in forgotten
    assert "; seed 2: " in forgotten
    html = page.read_text()
    assert html.count("<summary>good × 3</summary>") == 2, "results, forgetting"
    assert "good-seed2" not in html.split('<script type="application/json"')[0].split("doctor")[0]


def test_only_fields_that_differ_are_columns(replicated: Path, tmp_path: Path) -> None:
    text = write_report(collect_study(replicated), tmp_path)[0].read_text()
    section = text.split("## Recipes\n")[1].split("\n## ")[0]
    assert r"| recipe | lora\_r | seeds | hypothesis |" in section
    assert "| good × 3 | **16** | 0, 1, 2 |" in section
    assert "schedule constant" in section or "schedule cosine" in section or "schedule linear" in section


def test_what_was_forgotten_is_a_recipe_s_over_its_seeds(replicated: Path, tmp_path: Path) -> None:
    facts = collect_study(replicated)
    d = facts.families.forgetting.between("good", "base")
    text = write_report(facts, tmp_path)[0].read_text().split("## What was forgotten")[1]
    row = next(line for line in text.splitlines() if line.startswith("| good × 3"))
    assert f"{d.delta:+.4f} [{d.low:+.4f}, {d.high:+.4f}] | better |" in row


def test_report_and_card_say_with_an_earlier_study_s_noise_what_compare_says(
    replicated: Path, tmp_path: Path
) -> None:
    single = make_study(tmp_path / "single", {"plain": 0.0, "good": -1.0}, seeds=1)
    told = compare(single, noise=replicated)
    assert told.covers_seeds
    assert "is real" in told.conclusion()
    done = CliRunner().invoke(app, ["report", str(single), "--noise", str(replicated), "--json"])
    assert told.conclusion() in json.loads(done.stdout)["conclusions"]
    markdown, page = (single / f"report.{kind}" for kind in ("md", "html"))
    card = model_card(single / "good", "someone/good", merged=False, noise=replicated)
    for text in (markdown.read_text(), page.read_text(), card):
        plain = text.replace("\\", "").replace("&#39;", "'")
        assert all(note in plain for note in told.footnotes())
        assert "one seed" not in plain.lower().split("## criteria")[0]
    assert "is real" not in model_card(single / "good", "someone/good", merged=False)


def test_noise_of_another_base_is_refused_in_one_line(replicated: Path, tmp_path: Path) -> None:
    other = make_study(tmp_path / "other", {"plain": 0.0}, seeds=1, base="another")
    done = CliRunner().invoke(app, ["report", str(other), "--noise", str(replicated)])
    assert "its base is embedded, here it is another" in str(done.exception)

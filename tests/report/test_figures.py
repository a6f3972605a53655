"""Plots and tables for papers."""

import csv
import json
import re
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from safetensors.numpy import load_file

from helpers import MakeBase
from paceline.errors import MissingExtra
from paceline.report.figures import write_figures
from paceline.report.plots import forest, marks
from paceline.report.tables import Table, tables

PLOTS = {"forest", "loss-by-seconds", "loss-by-tokens", "curves-loss", "curves-token-accuracy", "curves-lr", "curves-grad-norm", "tasks", "mtbench-categories", "adapter-updates"}  # fmt: skip


@pytest.fixture(scope="module")
def drawn(facts: Any, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("figures") / "new"
    written = write_figures(facts, folder)
    assert sorted(written) == sorted(folder.iterdir())
    return folder


def test_every_plot_is_there_in_both_forms(drawn: Path) -> None:
    assert {path.stem for path in drawn.glob("*.svg")} == {path.stem for path in drawn.glob("*.png")} == PLOTS
    for path in drawn.glob("*.png"):
        with Image.open(path) as image:
            assert image.width >= 1200
    text = (drawn / "forest.svg").read_text()
    assert ">faster<" in text, "names are text"
    assert "<script" not in text


def test_updates_are_those_of_the_saved_matrices(drawn: Path, studied: Path, tiny_base: MakeBase) -> None:
    """‖s·BA‖ over ‖W‖, in per cent, from the files that the last logged step left."""
    weights = load_file(Path(tiny_base("qwen3")) / "model.safetensors")
    rows = {row.pop("module"): row for row in csv.DictReader((drawn / "adapter-updates.csv").open())}
    assert set(rows) == {"q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"}
    for run in ("plain", "faster"):
        adapter = studied / run / "adapter"
        own = load_file(adapter / "adapter_model.safetensors")
        config = json.loads((adapter / "adapter_config.json").read_text())
        for kind, row in rows.items():
            update = frozen = 0.0
            for name, a in own.items():
                if name.endswith(f"{kind}.lora_A.weight"):
                    b = own[name.replace("lora_A", "lora_B")]
                    update += np.square(config["lora_alpha"] / config["r"] * (b @ a)).sum()
                    base = name.removeprefix("base_model.model.").replace("lora_A.weight", "weight")
                    frozen += np.square(weights[base]).sum()
            assert float(row[run]) == pytest.approx(100 * np.sqrt(update / frozen), rel=1e-3)


def test_tables_hold_the_figures_of_the_report(drawn: Path, facts: Any) -> None:
    rows = list(csv.DictReader((drawn / "results.csv").open()))
    assert [row["recipe"] for row in rows] == ["(base)", "plain", "faster", "twin"]
    d = facts.comparison.rows[1].difference
    assert [float(rows[2][key]) for key in ("change", "low", "high")] == [d.delta, d.low, d.high]
    latex = (drawn / "results.tex").read_text()
    assert f"& {d.delta:+.4f} & {d.low:+.4f} & {d.high:+.4f} & {d.verdict} \\\\" in latex
    for path in drawn.glob("*.tex"):
        lines = [line for line in path.read_text().splitlines() if line.endswith(r"\\")]
        assert len({len(re.findall(r"(?<!\\)&", line)) for line in lines}) == 1, path


def test_what_others_wrote_is_no_command_and_no_formula() -> None:
    table = Table(
        name="x",
        columns={"a_b": "", "n": ".2f"},
        rows=[[r"\input{/etc/passwd} 5% & $x$", 1.0], ["=1+2", None]],
    )
    latex = table.latex()
    assert r"\textbackslash{}input\{/etc/passwd\} 5\% \& \$x\$ & 1.00 \\" in latex
    assert r"a\_b & n \\" in latex
    assert "\n'=1+2,\n" in table.csv()


def test_without_matplotlib_one_line_says_what_to_install(
    facts: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    with pytest.raises(
        MissingExtra, match=r"--figures needs matplotlib; install it with `pip install 'paceline\[figures\]'`"
    ):
        write_figures(facts, tmp_path / "figures")
    assert not (tmp_path / "figures").exists()


def test_a_forest_s_scale_holds_every_interval_and_zero(facts: Any) -> None:
    plot = forest(facts.comparison)
    assert plot.rows[0].recipe == facts.comparison.best[0]
    for row in plot.rows:
        if row.d:
            assert 0 < plot.place(row.d.low) < plot.place(row.d.delta) < plot.place(row.d.high) < 100
            assert row.inner == pytest.approx(row.d.half_width), "one seed: examples make all of it"
    assert plot.low < 0 < plot.high


@pytest.mark.parametrize(("low", "high", "found"), [(-0.2, 0.42, [-0.2, 0.0, 0.2, 0.4]), (-1e-6, 1e-6, None), (0, 700, [0, 200, 400, 600])])  # fmt: skip
def test_marks_are_round_and_few(low: float, high: float, found: Any) -> None:
    assert 2 <= len(marks(low, high)) <= 7
    assert found is None or marks(low, high) == found


def test_tables_that_have_no_rows_are_left_out(facts: Any) -> None:
    assert {table.name for table in tables(facts)} == {"results", "recipes", "mtbench", "code", "forgetting", "tasks", "mtbench-categories", "adapter-updates"}  # fmt: skip

"""How often a verdict is wrong, and how often it is missed, on runs that were really trained.

A/A: 64 runs of one recipe in each of three settings. Pseudo-studies of 5 recipes with 3 seeds each are drawn
from them, each on its own random half of the held-out examples: every verdict between two of them is wrong.
A half of few examples differs less from the whole than a sample of endlessly many would: so it is also done
with as many examples drawn with replacement, of which the held-out ones are exactly the whole.
A/B: pairs of recipes whose true difference is known from 32 seeds each. For each pair, designs (seeds and
held-out examples) are taken for which that difference is nearest to 0.5, 1 and 2 times the one that a plan
from the pair's own noise calls detectable. Studies of such a design are drawn, seeds and examples with
replacement, seeds shared by both recipes (blocks) or apart: how often the difference is found, and how often
its opposite, against the power that the plan promises. Recipes of nearly one rate share nearly all of their
noise, so what is small with shared seeds is much smaller than with seeds apart.

python benchmarks/verdicts.py train --work DIR
python benchmarks/verdicts.py judge --work DIR --out benchmarks/results/verdicts-cpu.json
"""

import argparse
import json
import math
import platform
import subprocess
import sys
import time
from itertools import combinations
from pathlib import Path

import numpy as np
import yaml

from paceline.comparison.recipes import BASE
from paceline.runs.losses import ExampleLosses
from paceline.stats.paired import paired_difference
from paceline.stats.power import Pilot, detectable, pilot_of, planned_family, power
from paceline.stats.recipes import RecipeScores, compare_recipes
from paceline.version import __version__

COMMON = {
    "base": "embedded",
    "max_length": 256,
    "lr": 2e-3,
    "max_steps": 16,
    "batch_size": 8,
    "grad_accum": 1,
    "logging_steps": 16,
    "save_steps": 100000,
}
SAMPLE = {"n": 600, "eval_ratio": 0.4}
AA = {
    "aa-rust": {"data": {"source": "embedded:rust", **SAMPLE}},
    "aa-twix-kl": {"data": {"source": "embedded:twix", **SAMPLE}, "kl": {"coef": 0.3}},
    "aa-nf4": {"data": {"source": "embedded:rust", **SAMPLE}, "quantize": "nf4"},
}
AA_SEEDS = range(1, 65)
AB = {
    "plain": {},
    "no-dropout": {"lora_dropout": 0.0},
    "beta2-0.99": {"adam_beta2": 0.99},
    "clip-0.5": {"max_grad_norm": 0.5},
}
APART = {"lr2.0": {"lr": 2e-3}, "lr2.4": {"lr": 2.4e-3}, "lr3.0": {"lr": 3e-3}}
AB_SEEDS = range(1, 33)
RECIPES, SEEDS = 5, 3
# What A/B designs are chosen from, and how large the true difference is to be, in detectable ones.
DESIGN_SEEDS, DESIGN_EXAMPLES, WANTED = (3, 4, 5, 6, 8, 12), (50, 100, 200, 400), (0.5, 1.0, 2.0)
# How near to what is wanted a design has to come.
NEAR = 1.35


def studies() -> dict[str, dict]:
    """Every study that is trained, as YAML has it."""
    seeds = [{"name": f"s{seed}", "seed": seed} for seed in AA_SEEDS]
    made = {name: {"study": name, "recipe": {**COMMON, **own}, "runs": seeds} for name, own in AA.items()}
    for study, recipes in (("ab-shared", AB), ("ab-apart", APART)):
        runs = [
            {"name": f"{name}-s{seed}", **own, "seed": seed}
            for name, own in recipes.items()
            for seed in AB_SEEDS
        ]
        made[study] = {"study": study, "recipe": {**COMMON, **AA["aa-rust"]}, "runs": runs}
    return made


def train(work: Path) -> None:
    """Trains all of it; what is finished is skipped."""
    work.mkdir(parents=True, exist_ok=True)
    for name, study in studies().items():
        path = work / f"{name}.yaml"
        path.write_text(yaml.safe_dump(study, sort_keys=False))
        command = [sys.executable, "-m", "paceline", "study", "run", path, "--runs", work / "runs"]
        subprocess.run([*command, "--no-check"], check=True)


class Trained:
    """The held-out losses of one study's runs. Shapes: `totals` (runs, examples), `counts` (examples,)."""

    def __init__(self, work: Path, study: str, runs: list[str]) -> None:
        folder = work / "runs" / study
        losses = [ExampleLosses.read(folder / run / "eval" / "final.parquet") for run in runs]
        self.totals = np.stack([own.loss for own in losses])
        self.counts = losses[0].tokens.astype(np.float64)
        self.base = ExampleLosses.read(folder / runs[0] / "eval" / "base.parquet").loss

    @property
    def figures(self) -> np.ndarray:
        return self.totals.sum(axis=1) / self.counts.sum()

    def half(self, random: np.random.Generator) -> np.ndarray:
        return random.permutation(len(self.counts))[: len(self.counts) // 2]

    def drawn(self, random: np.random.Generator) -> np.ndarray:
        return random.integers(len(self.counts), size=len(self.counts) // 2)

    def family(self, recipes: dict[str, np.ndarray], seeds: list[tuple[int, ...]], examples: np.ndarray):
        """The comparison of some recipes, each given by the places of its runs, and of the base."""
        scores = [
            RecipeScores(name=name, seeds=own, totals=self.totals[np.ix_(runs, examples)])
            for (name, runs), own in zip(recipes.items(), seeds, strict=True)
        ]
        scores.append(RecipeScores(name=BASE, seeds=(), totals=self.base[None, examples]))
        return compare_recipes(scores, self.counts[examples], better="lower")


def aa(trained: Trained, studies: int) -> dict:
    """The share of pseudo-studies with a false verdict, by today's rule and by the one before."""
    random = np.random.default_rng(0)
    counts = {"halves": np.zeros(2, dtype=int), "drawn": np.zeros(2, dtype=int)}
    wrong_before, seconds = 0, 0.0
    for _ in range(studies):
        runs = random.permutation(len(trained.totals))[: RECIPES * SEEDS].reshape(RECIPES, SEEDS)
        runs.sort(axis=1)
        half = trained.half(random)
        for kind, examples in (("halves", half), ("drawn", trained.drawn(random))):
            began = time.perf_counter()
            recipes = {str(number): own for number, own in enumerate(runs)}
            family = trained.family(recipes, [tuple(map(int, own)) for own in runs], examples)
            seconds += time.perf_counter() - began
            pairs = [d for names, d in family.differences.items() if BASE not in names]
            wrong = any(d.verdict != "tie" for d in pairs)
            counts[kind] += wrong, all(d.low <= 0 <= d.high for d in pairs)
        wrong_before += before(trained, runs[:, 0], half)
    return {
        "runs": len(trained.totals),
        "held_out": len(trained.counts),
        "sd_over_seeds": float(trained.figures.std(ddof=1)),
        "studies": studies,
        **{
            kind: {"false_verdicts": share(wrong, studies), "simultaneous_coverage": share(covered, studies)}
            for kind, (wrong, covered) in counts.items()
        },
        "false_verdicts_rule_before": share(wrong_before, studies),
        "seconds_a_comparison": seconds / (2 * studies),
    }


def ab(trained: Trained, names: list[str], studies: int, *, shared: bool) -> dict:
    """How often each pair's true difference is found, against the power that a plan for the pair promises.

    Args:
        shared: whether the recipes of a study have the same seeds, which are blocks then.
    """
    places = {name: np.arange(len(AB_SEEDS)) + k * len(AB_SEEDS) for k, name in enumerate(names)}
    random, pairs = np.random.default_rng(1), []
    for first, second in combinations(names, 2):
        pair = {name: places[name] for name in (second, first)}
        labels = [tuple(AB_SEEDS), tuple(AB_SEEDS) if shared else tuple(seed + 1000 for seed in AB_SEEDS)]
        whole = trained.family(pair, labels, np.arange(len(trained.counts)))
        pilot, true = pilot_of(whole, BASE), whole.between(second, first).delta
        for times, (seeds, units) in designs(pilot, abs(true), shared=shared).items():
            planned = planned_family(pilot, recipes=2, seeds=seeds, units=units, shared=shared)
            found, opposite = tried(trained, pair, true, seeds, units, studies, random, shared=shared)
            pairs.append(
                {
                    "pair": f"{second} - {first}",
                    "true_delta": true,
                    "seeds": seeds,
                    "examples": units,
                    "wanted_times_detectable": times,
                    "times_detectable": abs(true) / detectable(planned, (0, 1)),
                    "power_promised": power(planned, (0, 1), true),
                    "power_found": share(found, studies),
                    "wrong_direction": share(opposite, studies),
                }
            )
    return {
        "seeds_trained": len(AB_SEEDS),
        "seeds_are_shared": shared,
        "studies": studies,
        "detectable_with": "80% power",
        "pairs": pairs,
    }


def designs(pilot: Pilot, true: float, *, shared: bool) -> dict[float, tuple[int, int]]:
    """{times the detectable difference: seeds and examples with which the true one is about that}."""
    times = {
        (seeds, units): true
        / detectable(planned_family(pilot, recipes=2, seeds=seeds, units=units, shared=shared), (0, 1))
        for seeds in DESIGN_SEEDS
        for units in DESIGN_EXAMPLES
    }
    nearest = {wanted: min(times, key=lambda d: abs(math.log(times[d] / wanted))) for wanted in WANTED}
    return {wanted: d for wanted, d in nearest.items() if abs(math.log(times[d] / wanted)) < math.log(NEAR)}


def tried(
    trained: Trained,
    pair: dict[str, np.ndarray],
    true: float,
    seeds: int,
    units: int,
    studies: int,
    random: np.random.Generator,
    *,
    shared: bool,
) -> tuple[int, int]:
    """In how many drawn studies the first recipe is found to differ as it does, or the other way."""
    first, second = pair
    right, found, opposite = "better" if true < 0 else "worse", 0, 0
    for _ in range(studies):
        chosen = [random.integers(len(AB_SEEDS), size=seeds) for _ in pair]
        if shared:
            chosen[1] = chosen[0]
        recipes = {name: own[picked] for (name, own), picked in zip(pair.items(), chosen, strict=True)}
        # A seed that is drawn twice counts as two: labels are places in the study.
        labels = [tuple(range(seeds)), tuple(np.arange(seeds) + (0 if shared else seeds))]
        examples = random.integers(len(trained.counts), size=units)
        verdict = trained.family(recipes, labels, examples).between(first, second).verdict
        found += verdict == right
        opposite += verdict not in (right, "tie")
    return found, opposite


def runs_of(recipes: dict[str, dict]) -> list[str]:
    return [f"{name}-s{seed}" for name in recipes for seed in AB_SEEDS]


def before(trained: Trained, runs: np.ndarray, examples: np.ndarray) -> bool:
    """Whether the rule of 0.1, a bootstrap over examples for each pair by itself, called any two apart."""
    counts = trained.counts[examples]
    totals = trained.totals[np.ix_(runs, examples)]
    return any(
        not (d := paired_difference(totals[i], totals[j], counts, better="lower")).low <= 0 <= d.high
        for i in range(len(runs))
        for j in range(i)
    )


def share(hits: int, count: int) -> dict:
    """A share with its 95% interval (Wilson)."""
    from paceline.stats.intervals import wilson_interval

    interval = wilson_interval(hits, count)
    return {"value": interval.value, "low": interval.low, "high": interval.high}


def judge(work: Path, out: Path, studies: int) -> None:
    result = {
        "machine": {"cpu": platform.processor() or platform.machine(), "python": platform.python_version()},
        "paceline": __version__,
        "aa": {name: aa(Trained(work, name, [f"s{seed}" for seed in AA_SEEDS]), studies) for name in AA},
        "ab": {
            study: ab(Trained(work, study, runs_of(recipes)), list(recipes), studies, shared=shared)
            for study, recipes, shared in (("ab-shared", AB, True), ("ab-apart", APART, False))
        },
    }
    out.write_text(json.dumps(result, indent=1) + "\n")
    print(json.dumps(result, indent=1))


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("what", choices=["train", "judge"])
    parser.add_argument("--work", type=Path, required=True)
    parser.add_argument("--out", type=Path, default=Path("benchmarks/results/verdicts-cpu.json"))
    parser.add_argument("--studies", type=int, default=1000)
    args = parser.parse_args()
    if args.what == "train":
        train(args.work)
    else:
        judge(args.work, args.out, args.studies)


if __name__ == "__main__":
    main()

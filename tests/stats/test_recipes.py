"""Differences of recipes: what they cover, against formulas and simulations computed another way."""

from collections.abc import Callable, Sequence
from functools import partial

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy import stats

from paceline.stats import recipes as recipes_module
from paceline.stats.recipes import RecipeFamily, RecipeScores, compare_recipes
from paceline.stats.seed_noise import MARGIN, PooledSeeds, SeedNoise, unlike
from paceline.stats.simultaneous import Family, critical_values

Floats = NDArray[np.float64]
BASE = "base"


def study(
    random: np.random.Generator,
    recipes: int = 4,
    seeds: int = 3,
    units: int = 60,
    *,
    seed_sd: float = 0.01,
    rest_sd: float = 0.0,
    unit_sd: float = 0.0,
    block_sd: float = 0.0,
    shared: bool = False,
    effects: Floats | None = None,
) -> tuple[list[RecipeScores], Floats]:
    """Scores drawn from the model of `paceline.stats.recipes`, every recipe's true mean 2 + its effect."""
    counts = random.integers(5, 100, units).astype(np.float64)
    common, blocks = random.normal(0, 1, units), random.normal(0, block_sd, seeds)
    scores = []
    for number in range(recipes):
        own_blocks = blocks if shared else random.normal(0, block_sd, seeds)
        values = 2 + common + (0 if effects is None else effects[number])
        values = values + (own_blocks + random.normal(0, seed_sd, seeds))[:, None]
        own_units = random.normal(0, unit_sd, units)
        values = values + own_units + random.normal(0, rest_sd, (seeds, units))
        names = tuple(range(seeds)) if shared else tuple(range(100 * number, 100 * number + seeds))
        scores.append(RecipeScores(name=f"r{number}", seeds=names, totals=values * counts))
    return scores, counts


def figures(scores: RecipeScores, counts: Floats) -> Floats:
    return np.asarray(scores.totals.sum(axis=1) / counts.sum())


def test_without_units_to_differ_it_is_tukeys_test() -> None:
    """Own seeds, nothing over units: the studentized range, as Tukey and Kramer have it."""
    scores, counts = study(np.random.default_rng(1))
    family = compare_recipes(scores, counts, better="lower")
    tukey = stats.tukey_hsd(*(figures(one, counts) for one in scores)).confidence_interval(0.95)
    for i in range(4):
        for j in range(i):
            ours = family.between(f"r{i}", f"r{j}")
            assert ours.low == pytest.approx(tukey.low[i, j], rel=0.02, abs=1e-4)
            assert ours.high == pytest.approx(tukey.high[i, j], rel=0.02, abs=1e-4)
            assert ours.freedom == pytest.approx(8)


def test_two_recipes_are_students_t_test() -> None:
    scores, counts = study(np.random.default_rng(2), recipes=2, seeds=5)
    ours = compare_recipes(scores, counts, better="lower").between("r0", "r1")
    theirs = stats.ttest_ind(*(figures(one, counts) for one in scores)).confidence_interval(0.95)
    assert (ours.low, ours.high) == pytest.approx((theirs.low, theirs.high), rel=0.03)


def test_unlike_noise_is_welchs_test() -> None:
    random = np.random.default_rng(3)
    calm, counts = study(random, recipes=1, seeds=8, seed_sd=0.001)
    totals = np.outer(2 + random.normal(0, 0.1, 8), counts)
    wild = RecipeScores(name="wild", seeds=tuple(range(50, 58)), totals=totals)
    family = compare_recipes([calm[0], wild], counts, better="lower", together=False)
    ours = family.between("r0", "wild")
    theirs = stats.ttest_ind(figures(calm[0], counts), totals.sum(axis=1) / counts.sum(), equal_var=False)
    assert family.welch
    assert ours.seed_error == pytest.approx((ours.delta / theirs.statistic), rel=1e-6)


def test_shared_seeds_are_blocks_of_an_analysis_of_variance() -> None:
    """The residual of a least-squares fit with a column for each recipe and each seed."""
    scores, counts = study(np.random.default_rng(4), recipes=4, seeds=5, block_sd=0.2, shared=True)
    values = np.stack([figures(one, counts) for one in scores])
    places = [(recipe, seed) for recipe in range(4) for seed in range(5)]
    design = np.asarray(
        [[*(r == i for i in range(4)), *(s == k for k in range(5))] for r, s in places], float
    )
    fit, _, rank, _ = np.linalg.lstsq(design, values.ravel(), rcond=None)
    residuals = values.ravel() - design @ fit
    variance = float(residuals @ residuals) / (20 - rank)
    family = compare_recipes(scores, counts, better="lower")
    for i in range(4):
        for j in range(i):
            own = (values[i] - values[j]).var(ddof=1) / 5
            error = family.between(f"r{i}", f"r{j}").seed_error
            assert error**2 == pytest.approx(max(2 * variance / 5, own))


def test_the_base_keeps_what_a_seed_does_to_all_recipes() -> None:
    scores, counts = study(
        np.random.default_rng(5), recipes=4, seeds=5, block_sd=0.2, seed_sd=0.001, shared=True
    )
    base = RecipeScores(name=BASE, seeds=(), totals=3 * counts[None])
    family = compare_recipes([*scores, base], counts, better="lower")
    within = np.mean([figures(one, counts).var(ddof=1) for one in scores])
    assert family.between("r0", BASE).seed_error == pytest.approx(np.sqrt(within / 5))
    assert family.between("r0", "r1").seed_error < 0.002


@pytest.mark.parametrize(
    "make",
    [
        lambda random: study(random, rest_sd=0.05, seed_sd=0.005),
        lambda random: study(random, rest_sd=0.05, unit_sd=0.05, seed_sd=0.005),
        lambda random: study(random, rest_sd=0.03, seed_sd=0.003, block_sd=0.02, shared=True),
        lambda random: study(random, seeds=2, rest_sd=0.05, unit_sd=0.03, seed_sd=0.005),
        lambda random: study(
            random, recipes=2, seeds=3, rest_sd=0.03, unit_sd=0.03, seed_sd=0.003, shared=True
        ),
    ],
    ids=["seeds", "seeds and units", "blocks", "two seeds", "two recipes"],
)
def test_recipes_that_are_one_are_told_apart_in_five_of_a_hundred_studies(
    monkeypatch: pytest.MonkeyPatch, make: Callable[[np.random.Generator], tuple[list[RecipeScores], Floats]]
) -> None:
    monkeypatch.setattr(recipes_module, "critical_values", partial(critical_values, draws=8000))
    random, wrong, studies = np.random.default_rng(6), 0, 300
    for _ in range(studies):
        scores, counts = make(random)
        family = compare_recipes(scores, counts, better="lower")
        wrong += any(not d.low <= 0 <= d.high for d in family.differences.values())
    # the 99% bounds of a binomial count at 5%
    assert stats.binom.ppf(0.001, studies, 0.05) <= wrong <= stats.binom.ppf(0.999, studies, 0.05)


def test_one_seed_gives_no_verdict_on_recipes() -> None:
    random = np.random.default_rng(7)
    scores, counts = study(random, recipes=3, seeds=1, unit_sd=0.01, effects=np.asarray([0.0, 0.5, 0.0]))
    family = compare_recipes(scores, counts, better="lower")
    assert {d.verdict for d in family.differences.values()} <= {"differ", "tie"}
    assert family.between("r0", "r1").verdict == "differ"
    known = SeedNoise(variance=1e-4, rest=0.0, units=60, freedom=10, moved=0.8)
    assert compare_recipes(scores, counts, better="lower", known=known).noise is None, "no base to go by"
    totals = np.mean([one.totals[0] for one in scores], axis=0) - 0.3 * counts
    scores.append(RecipeScores(name=BASE, seeds=(), totals=totals[None]))
    told = compare_recipes(scores, counts, better="lower", known=known)
    assert told.between("r0", "r1").verdict == "better"
    assert told.between("r1", "r0").verdict == "worse"
    assert told.seeds.known_used
    assert told.seeds.taken_over == {"r0": MARGIN, "r1": MARGIN, "r2": MARGIN}
    assert told.between("r0", "r1").seed_error == pytest.approx(MARGIN * np.sqrt(2e-4))


def borrowing(random: np.random.Generator, far: float, quiet: float) -> tuple[list[RecipeScores], Floats]:
    """A baseline of five seeds that moves by 0.01 nats; two recipes that are one, of a seed each, by `far`.

    Their figures vary by 3% of the way from the base, the baseline's by `quiet` of that.
    """
    counts, before = np.ones(48), random.normal(2, 0.5, 48)

    def trained(way: float, share: float, seeds: int) -> Floats:
        shift = random.normal(way, share * way, (seeds, 1))
        return np.asarray(before - shift - random.normal(0, 0.02 * way, (seeds, 48)))

    scores = [RecipeScores(name="quiet", seeds=tuple(range(5)), totals=trained(0.01, 0.03 * quiet, 5))]
    for seed, name in enumerate(("mid", "twin")):
        scores.append(RecipeScores(name=name, seeds=(seed,), totals=trained(far, 0.03, 1)))
    return [*scores, RecipeScores(name=BASE, seeds=(), totals=before[None])], counts


@pytest.mark.parametrize(("far", "quiet"), [(0.8, 1.0), (0.8, 1 / 2.75), (0.8, 0.001), (0.01, 0.5)])
def test_a_quiet_recipe_s_noise_does_not_tell_two_loud_ones_of_one_recipe_apart(
    monkeypatch: pytest.MonkeyPatch, far: float, quiet: float
) -> None:
    monkeypatch.setattr(recipes_module, "critical_values", partial(critical_values, draws=4000))
    random, wrong, studies = np.random.default_rng(9), 0, 300
    for _ in range(studies):
        family = compare_recipes(*borrowing(random, far, quiet), better="lower")
        wrong += family.between("mid", "twin").verdict in ("better", "worse")
    assert wrong <= stats.binom.ppf(0.999, studies, 0.05)


def test_noise_is_taken_over_in_proportion_to_the_way_from_the_base() -> None:
    family = compare_recipes(*borrowing(np.random.default_rng(10), 0.8, 1.0), better="lower")
    assert family.seeds.measured == {"quiet": 5}
    assert family.seeds.taken_over["mid"] == pytest.approx(80 * MARGIN, rel=0.2)
    assert family.between("quiet", BASE).covers_seeds
    dead, counts = borrowing(np.random.default_rng(10), 0.8, 1.0)
    dead[0] = RecipeScores(name="quiet", seeds=dead[0].seeds, totals=np.tile(dead[-1].totals, (5, 1)))
    assert compare_recipes(dead, counts, better="lower").noise is None, "a dead run has no noise to lend"


@pytest.mark.parametrize("seeds", [3, 5])
def test_under_welch_shared_seeds_stay_blocks_of_each_pair(
    monkeypatch: pytest.MonkeyPatch, seeds: int
) -> None:
    """A quiet recipe beside three that share most of their noise: paired t tests, jointly at their level."""
    monkeypatch.setattr(recipes_module, "critical_values", partial(critical_values, draws=4000))
    random, wrong, blocked = np.random.default_rng(11), 0, 0
    for _ in range(300):
        scores, counts = study(random, seeds=seeds, seed_sd=0.001, block_sd=0.2, shared=True)
        still = 2 + random.normal(0, 1e-5, (seeds, 1)) + np.zeros(len(counts))
        scores.append(RecipeScores(name="still", seeds=scores[0].seeds, totals=still * counts))
        family = compare_recipes(scores, counts, better="lower")
        blocked += family.seeds.blocked and family.welch
        wrong += any(
            not d.low <= 0 <= d.high for pair, d in family.differences.items() if "still" not in pair
        )
    assert blocked > 250
    assert wrong <= stats.binom.ppf(0.999, 300, 0.05)
    near = family.between("r0", "r1")
    values = np.stack([figures(one, counts) for one in scores[:2]])
    assert near.seed_error == pytest.approx((values[0] - values[1]).std(ddof=1) / np.sqrt(seeds), rel=1e-6)
    assert near.freedom == pytest.approx(seeds - 1, rel=0.01)


def test_noise_of_fewer_units_holds_more_of_the_rest() -> None:
    noise = SeedNoise(variance=3e-4, rest=0.01, units=100, freedom=7)
    assert noise.on(50).variance == pytest.approx(4e-4)
    assert noise.on(10**9).variance == pytest.approx(2e-4)


def test_the_order_of_recipes_changes_nothing_but_the_sign() -> None:
    scores, counts = study(np.random.default_rng(8), rest_sd=0.05, unit_sd=0.05)
    one, other = (compare_recipes(order, counts, better="lower") for order in (scores, scores[::-1]))

    def close(left: RecipeFamily, right: RecipeFamily) -> None:
        for first, second in left.differences:
            ours, theirs = left.between(first, second), right.between(first, second)
            assert ours.delta == pytest.approx(theirs.delta)
            assert ours.low == pytest.approx(theirs.low, rel=0.03, abs=1e-4)

    close(one, other)


@pytest.mark.parametrize("seeds", [2, 3])
def test_replicates_that_pass_as_many_tasks_are_not_without_noise(seeds: int) -> None:
    """Other tasks each time, 9 of 14 by one recipe and 6 by the other: nothing is shown of the recipes."""
    random = np.random.default_rng(3)

    def passing(count: int) -> RecipeScores:
        tasks = np.zeros((seeds, 14))
        for own in tasks:
            own[random.permutation(14)[:count]] = 1
        return RecipeScores(name=str(count), seeds=tuple(range(seeds)), totals=tasks)

    for _ in range(40):
        nine, six = passing(9), passing(6)
        base = RecipeScores(name=BASE, seeds=(), totals=passing(6).totals[:1])
        d = compare_recipes([nine, six, base], np.ones(14), better="higher").between("9", "6")
        assert np.isfinite([d.low, d.high]).all()
        apart = (
            [nine.totals, six.totals] if seeds == 2 else [nine.totals - six.totals]
        )  # else seeds are blocks
        tasks = sum(own.var(axis=0, ddof=1).sum() for own in apart) / 14**2
        assert d.seed_error**2 * seeds >= tasks * (1 - 1e-9)
        assert d.verdict == "tie"


def test_two_seeds_far_from_the_base_are_not_judged_by_quiet_ones_near_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Two recipes that are one, beside a baseline of eight seeds that moved a fiftieth as far."""
    monkeypatch.setattr(recipes_module, "critical_values", partial(critical_values, draws=4000))
    random, wrong, studies = np.random.default_rng(10), 0, 150
    counts = np.ones(48)
    for _ in range(studies):
        before = random.normal(2, 0.5, 48)

        def trained(name: str, way: float, first: int, seeds: int, before: Floats = before) -> RecipeScores:
            shift = random.normal(way, 0.03 * way, (seeds, 1))
            totals = before - shift - random.normal(0, 0.02 * way, (seeds, 48))
            return RecipeScores(name=name, seeds=tuple(range(first, first + seeds)), totals=totals)

        base = RecipeScores(name=BASE, seeds=(), totals=before[None])
        scores = [trained("quiet", 0.01, 0, 8), trained("one", 0.5, 8, 2), trained("two", 0.5, 10, 2), base]
        wrong += compare_recipes(scores, counts, better="lower").between("one", "two").verdict != "tie"
    assert wrong <= stats.binom.ppf(0.999, studies, 0.05)


def test_two_seeds_that_coincide_by_chance_do_not_make_noise_unlike() -> None:
    def noise(means: Sequence[float]) -> SeedNoise:
        return SeedNoise(variance=float(np.var(means, ddof=1)), rest=0.0, units=9, freedom=len(means) - 1)

    noisy, quiet = noise([0.0, 1.0, -1.0, 2.0]), noise([0.0, 1e-4, -1e-4, 2e-4])
    alike, dead = noise([0.0, 1e-9]), noise([1.0, 1.0, 1.0])
    assert unlike([noisy, quiet])
    assert not unlike([alike, noisy])
    assert unlike([alike, noisy, quiet]), "two seeds of one do not hide the others"
    assert unlike([dead, noisy]), "a dead run's lack of noise is none of the others'"
    assert not unlike([dead, dead])
    assert not unlike([alike, noise([0.0, 1.0])])
    assert noise([0.0, 1.0]).is_larger(np.nan, [(quiet, np.nan)])
    assert not noise([0.0, 1e-4]).is_larger(np.nan, [(quiet, np.nan)])
    assert not noise([0.0, 0.003]).is_larger(0.5, [(quiet, 0.02)]), "it has moved farther by as much"


def test_two_parts_of_the_variance_are_behrens_and_fishers_distribution() -> None:
    """Two equal parts of 6 degrees of freedom each; the 5% point is by integration of both densities."""
    noise = SeedNoise(variance=0.5, rest=0.0, units=7, freedom=6)
    seeds = PooledSeeds(noise=[noise, noise], shares=np.asarray([1.0, 1.0]))
    family = Family(recipes=2, seeds=seeds, unit_covariance=np.eye(2) * 0.5, unit_freedom=6)
    assert critical_values(family, draws=400_000)[0, 1] == pytest.approx(2.4359, abs=0.015)

"""A first study: three recipes for a goal, as a commented file that a person goes on from."""

from dataclasses import dataclass

from paceline.config.data import Data
from paceline.config.fields import Fields
from paceline.config.recipe import Recipe
from paceline.config.yaml_text import in_line

# Ten times the usual rate: the embedded base is a few hundred times smaller than the usual ones.
_EMBEDDED_LR = 2e-3
# Few rows need passes and a large held-out share, or there is little to learn from and to compare by.
_FEW, _MANY = 2_000, 20_000


@dataclass(frozen=True)
class Goal:
    """What somebody wants of a first study, in a sentence, and what its two challengers change."""

    objective: str
    eval: Fields | None = None


GOALS = {
    "quality": Goal("Find the recipe with the lowest held-out loss."),
    "fast": Goal("Find out whether less training learns as much."),
    "keep": Goal(
        "Find the recipe that learns the data and forgets little else.",
        eval={"forgetting": {"source": "embedded:twix", "n": 100}},
    ),
}


@dataclass(frozen=True)
class DataFacts:
    """What is known of the data: rows (None: not counted), their format, examples' tokens at p50, p95, max.

    `fits` is {tokens: share of the examples that fit}, `counted_by` the base whose tokenizer counted.
    """

    rows: int | None
    format: str
    p50: int
    p95: int
    longest: int
    fits: dict[int, float]
    counted_by: str


def starter_study(name: str, base: str, data: Data, facts: DataFacts, goal: str, seeds: int) -> str:
    """The text of a study file: a baseline and two challengers that each change one idea.

    Args:
        data: its source, mapping of columns, format and `n` are written.
        goal: one of GOALS.
        seeds: how often every recipe is trained.
    """
    rows = data.n if facts.rows is None else min(facts.rows, data.n or facts.rows)
    few = rows is not None and rows < _FEW
    eval_ratio = 0.25 if few else 0.1
    epochs = 2 if rows is not None and rows < _MANY else 1
    batch = (4, 2) if few else (4, 4)
    held_out = "" if rows is None else f"about {round(rows * eval_ratio):,} of {rows:,} rows, "
    counted = "" if facts.counted_by == base else f" (the {facts.counted_by} base's tokens)"
    length = _length(facts)
    lines = [
        f"# A first study, written by Paceline for {_one_line(data.source)} ({_rows(facts)}).",
        "# Every line may be changed; docs/studies.md has all fields. See it: paceline study show FILE;",
        "# what it needs: paceline plan FILE; train it: paceline study run FILE.",
        f"study: {in_line(name)}",
        f"objective: {in_line(GOALS[goal].objective)}",
        "",
        "recipe: # what all runs share",
        f"  base: {in_line(base)} # hub id or folder; `embedded` is a small one that Paceline carries",
        "  data:",
        f"    source: {in_line(data.source)}",
        *([f"    columns: {in_line(data.columns)} # ours: the rows'"] if data.columns else []),
        *([f"    format: {in_line(data.format)}"] if data.format != "auto" else []),
        *([f"    n: {data.n} # rows that are used, held-out ones too"] if data.n else []),
        *(["    stream: true # of the hub's data set no more than these rows are downloaded"] * data.stream),
        f"    eval_ratio: {eval_ratio} # {held_out}held out, the same for every run",
        f"  max_length: {length} # {facts.fits[length]:.1%} of the examples fit: half have at most "
        f"{facts.p50:,} tokens, 95% {facts.p95:,}, the longest {facts.longest:,}{counted}",
        f"  epochs: {epochs} # passes over the training rows",
        f"  batch_size: {batch[0]}",
        f"  grad_accum: {batch[1]} # {batch[0] * batch[1]} examples a step",
        f"  lr: {_rate(base):g} # the peak; a cosine follows a warm-up",
        "  logging_steps: 5",
    ]
    if evaluation := GOALS[goal].eval:
        lines += [f"  eval: {in_line(evaluation)} # what is forgotten: name general rows of your own"]
    lines += [
        "",
        f"seeds: {seeds} # each recipe so often: only over several seeds is a recipe called better",
        "",
        "runs: # the first is the baseline; each of the others changes one idea",
    ]
    for run in _runs(goal, _rate(base), epochs, batch):
        lines += [f"  - name: {run.pop('name')}"]
        lines += [f"    {field}: {in_line(value)}" for field, value in run.items()]
    return "\n".join(lines) + "\n"


def _runs(goal: str, lr: float, epochs: int, batch: tuple[int, int]) -> list[Fields]:
    baseline = {"name": "baseline", "hypothesis": "Sensible defaults, to compare with."}
    higher = {"name": "higher-rate", "lr": float(f"{2.5 * lr:g}"), "warmup_ratio": 0.2}
    challengers: dict[str, list[Fields]] = {
        "quality": [
            {**higher, "hypothesis": "A higher rate learns more; a longer warm-up keeps its start stable."},
            {
                "name": "small-batch",
                "batch_size": batch[0] // 2,
                "grad_accum": batch[1] // 2,
                "lora_dropout": 0.1,
                "hypothesis": "A quarter of the batch takes four times the steps and learns more.",
            },
        ],
        "fast": [
            {
                **higher,
                "name": "half-the-time",
                "epochs": epochs / 2,
                "hypothesis": "Half the passes at a higher rate learn more than the baseline.",
            },
            {
                "name": "low-rank",
                "lora_r": 4,
                "lora_alpha": 8,
                "hypothesis": "A quarter of the rank learns less: it is worth its size.",
                "expect": "eval_loss > baseline",
            },
        ],
        "keep": [
            {
                "name": "kl-anchor",
                "kl": {"coef": 0.1},
                "hypothesis": "Holding on to the base costs held-out loss; the report says what it keeps.",
                "expect": "eval_loss > baseline",
            },
            {
                "name": "low-rate",
                "lr": float(f"{lr / 2.5:g}"),
                "hypothesis": "A lower rate learns less; the report says what it keeps.",
                "expect": "eval_loss > baseline",
            },
        ],
    }
    return [baseline, *challengers[goal]]


def _rate(base: str) -> float:
    return _EMBEDDED_LR if base == "embedded" else float(Recipe.model_fields["lr"].default)


def _length(facts: DataFacts) -> int:
    """The shortest length that 98 of 100 examples fit; the longest that was counted where none does."""
    return next((length for length, share in facts.fits.items() if share >= 0.98), max(facts.fits))


def _rows(facts: DataFacts) -> str:
    counted = "rows of a hub data set" if facts.rows is None else f"{facts.rows:,} rows"
    return f"{counted}, read as {facts.format}"


def _one_line(text: str) -> str:
    return " ".join(text.split())

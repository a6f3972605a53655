"""A rehearsal: the same study on the embedded base and samples, small enough for a laptop."""

from paceline.config.fields import Fields
from paceline.config.load import make_recipe
from paceline.config.recipe import Recipe
from paceline.config.study import Study

ROWS = 800
# Where training rows are drawn anew: half of the smallest sample.
RESAMPLED_ROWS = 180
# Examples that all runs together train on: about three minutes of two cores.
PASSES = 4000
EVAL_RATIO = 0.25
LARGEST_BATCH = 16
# What nearly all examples of the samples fit, and more than the embedded base needs for any.
LENGTH, LONGEST = 640, 4096
STEP_SHARE = 0.02
# The embedded base is a few hundred times smaller than the real ones and sees a few dozen steps: at their
# learning rates it would not move.
LR_FACTOR, HIGHEST_LR = 40.0, 4e-3
_SAMPLES = {"twix": "embedded:twix", "codeforces": "embedded:codeforces"}


def rehearsal(study: Study) -> Study:
    """Swaps in the package's own base and data, with fewer steps, smaller batches and higher rates.

    At most 800 rows, of which a quarter is held out. All that tells the runs apart stays: rows, learning
    rates, effective batches and lengths (raised where they would cut the samples' rows) keep their ratios,
    since one factor holds for the whole study; a number of steps becomes as many passes over the data as in
    the real run where its number of rows is known; rank, schedule, dropout, mixture, anchor, quantization and
    the rest are as they are. A teacher is the embedded base itself.
    """
    lr_factor = min(LR_FACTOR, HIGHEST_LR / max(run.recipe.lr for run in study.runs))
    shrink = max(1, max(run.recipe.effective_batch for run in study.runs) // LARGEST_BATCH)
    recipes = [run.recipe for run in study.runs]
    most = max(recipe.data.n or ROWS for recipe in recipes)
    cost = sum(_cost(recipe) * (recipe.data.n or ROWS) / most for recipe in recipes)
    largest = ROWS if all(recipe.data.resample is None for recipe in recipes) else RESAMPLED_ROWS
    stretch = max(1.0, LENGTH / min(recipe.max_length for recipe in recipes))
    rows = min(largest, PASSES / (1 - EVAL_RATIO) / cost) / most
    runs = [
        run.model_copy(
            update={
                "recipe": _rehearse(run.recipe, run.name, lr_factor, shrink, stretch, rows),
                "written": run.written or run.recipe,
            }
        )
        for run in study.runs
    ]
    return study.model_copy(update={"name": f"rehearsal-{study.name}", "runs": runs})


def _rehearse(
    recipe: Recipe, name: str, lr_factor: float, shrink: int, stretch: float, rows: float
) -> Recipe:
    fields: Fields = recipe.model_dump(mode="json")
    source = _SAMPLES.get(recipe.data.format, "embedded:rust")
    fields["data"] |= {
        "source": source,
        "config": None,
        "split": "train",
        "format": "auto",
        "eval_ratio": EVAL_RATIO,
    }
    if recipe.data.sample_ratio is None:
        fields["data"]["n"] = max(20, round((recipe.data.n or ROWS) * rows))
    fields |= {"base": "embedded", "compute_dtype": "auto"}  # half precision is slow on a CPU
    fields["lr"] = recipe.lr * lr_factor
    fields["max_length"] = max(recipe.max_length, min(round(recipe.max_length * stretch), LONGEST))
    fields["grad_accum"] = max(1, recipe.grad_accum // shrink)
    share = STEP_SHARE
    if recipe.max_steps:
        small = (
            fields["data"]["n"] * (1 - EVAL_RATIO) / (recipe.final_batch_size * fields["grad_accum"])
            if recipe.data.n
            else 0.0
        )
        fields["max_steps"] = max(10, round(_coverage(recipe) * small or recipe.max_steps * STEP_SHARE))
        share = fields["max_steps"] / recipe.max_steps
    for steps in ("warmup_steps", "eval_steps"):
        if fields[steps]:
            fields[steps] = max(2, round(fields[steps] * share))
    if not isinstance(recipe.batch_size, int):
        fields["batch_size"]["steps"] = max(1, round(recipe.batch_size.steps * share))
    for steps in ("start_step", "warmup_steps"):
        if recipe.kl and fields["kl"][steps]:
            fields["kl"][steps] = max(1, round(fields["kl"][steps] * STEP_SHARE))
    fields["trainable_token_indices"] = _own_tokens(recipe.trainable_token_indices)
    if recipe.distill:
        fields["distill"]["teacher"] = "embedded"
    fields["eval"] = _rehearse_evaluation(
        fields["eval"], share, "embedded:rust" if source == "embedded:twix" else "embedded:twix"
    )
    fields |= {"logging_steps": 5, "track_space": None}
    return make_recipe(fields, f"rehearsal of {name}")


def _own_tokens(given: list[int] | dict[str, list[int]] | None) -> list[int] | dict[str, list[int]] | None:
    """As many tokens of the embedded base."""
    if isinstance(given, dict):
        return {module: list(range(len(tokens))) for module, tokens in given.items()}
    return None if given is None else list(range(len(given)))


def _rehearse_evaluation(evaluation: Fields, share: float, other: str) -> Fields:
    """Embedded questions, the base as judge, short answers, few tasks; `other` is another kind of rows."""
    if mtbench := evaluation["mtbench"]:
        lang = "embedded:ru" if mtbench["lang"] == "ru" else "embedded:en"
        mtbench |= {
            "lang": lang,
            "questions": 0,
            "judge": "simple",
            "judge_model": None,
            "judge_url": None,
            "judge_prompts": None,
            "pairwise": False,
        }
        mtbench["max_new_tokens"] = min(mtbench["max_new_tokens"], 32)
        if mtbench["during"]:
            mtbench["during"] |= {"steps": max(2, round(mtbench["during"]["steps"] * share)), "questions": 4}
    if code := evaluation["code"]:
        code |= {
            "data": None,
            "n": min(code["n"], 6),
            "samples": min(code["samples"], 2),
            "max_new_tokens": min(code["max_new_tokens"], 96),
        }
    if general := evaluation["forgetting"]:
        general |= {
            "source": other,
            "config": None,
            "split": "train",
            "format": "auto",
            "n": min(general["n"], 40),
        }
    return evaluation


def _coverage(recipe: Recipe) -> float:
    """Passes of the real run over its data, where its number of rows is known."""
    if recipe.max_steps and recipe.data.n:
        return float(
            recipe.max_steps * recipe.effective_batch / (recipe.data.n * (1 - recipe.data.eval_ratio))
        )
    return recipe.epochs


def _cost(recipe: Recipe) -> float:
    """Passes, counting the forward twice where layers are recomputed."""
    return _coverage(recipe) * (1.5 if recipe.gradient_checkpointing else 1.0)

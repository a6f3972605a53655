"""One run, and the presets that it may begin from."""

import os
from pathlib import Path
from typing import Annotated

import typer

from paceline.cli.flags import recipe_flags
from paceline.cli.options import Budget, Check, Extend, Json, Runs, Seeds
from paceline.config.fields import Fields
from paceline.config.names import check_run_name
from paceline.errors import ConfigError


@recipe_flags
def train(
    recipe: Annotated[
        Path | None, typer.Argument(help="Recipe file (YAML); flags go over its fields.")
    ] = None,
    preset: Annotated[str | None, typer.Option(help="Named, partial recipe; see `paceline presets`.")] = None,
    run_name: Annotated[str, typer.Option(help="Name of the run and of its directory.")] = "run",
    runs: Runs = Path("runs"),
    output_dir: Annotated[
        Path | None, typer.Option(help="Run directory, in place of --runs and --run-name.")
    ] = None,
    num_proc: Annotated[
        int | None, typer.Option(min=1, help="Threads that tokenize; default: one a core.")
    ] = None,
    seeds: Seeds = None,
    token_budget: Budget = None,
    check: Check = True,
    extend: Extend = False,
    shard_base: Annotated[
        bool, typer.Option("--shard-base", help="Under torchrun: spread the base over the GPUs (FSDP2).")
    ] = False,
    push_to_hub: Annotated[
        bool, typer.Option("--push-to-hub", help="Put the finished run on the hub, private.")
    ] = False,
    hub_model_id: Annotated[
        str | None, typer.Option(help="USER/NAME on the hub; default: the run's name in your account.")
    ] = None,
    as_json: Json = False,
    flags: Fields = {},  # noqa: B006 - filled in by recipe_flags
) -> None:
    """Train one run. Any field of a recipe is a flag: preset < file < flag.

    With --seeds, a study of the run's replicates, in a folder of its name.
    """
    if output_dir is not None:
        if run_name != "run":
            raise ConfigError("--output-dir names the run directory whole; leave out --run-name")
        if seeds is not None:
            raise ConfigError("--output-dir names one run's directory, --seeds makes several; use --run-name")
        runs, run_name = output_dir.resolve().parent, output_dir.resolve().name
    check_run_name(run_name)
    if num_proc is not None:
        os.environ["RAYON_NUM_THREADS"] = str(num_proc)  # read when the tokenizers are first used
    from paceline.cli.run import train_and_compare
    from paceline.config.load import resolve_recipe
    from paceline.config.replicates import parse_seeds, replicates
    from paceline.config.study import Run, Study

    made, notes = resolve_recipe(recipe, preset, flags)
    _name_judge(flags)
    replicated = [Run(name=run_name, recipe=made)]
    if (chosen := parse_seeds(seeds)) is not None:
        if (runs / run_name / "recipe.yaml").is_file():
            raise ConfigError(f"{runs / run_name} is a run's directory; name the replicates with --run-name")
        if chosen.listed and "seed" in flags:
            raise ConfigError("--seed beside a list of --seeds; leave one of them out")
        runs, replicated = runs / run_name, replicates(replicated[0], chosen)
    if push_to_hub or hub_model_id:
        from paceline.cli.export import push_after

        finish = push_after(runs / run_name, hub_model_id)
    train_and_compare(
        Study(name=run_name, runs=replicated, notes=notes),
        runs,
        as_json,
        token_budget,
        check,
        shard_base,
        extend,
    )
    if push_to_hub or hub_model_id:
        finish()


def _name_judge(flags: Fields) -> None:
    """A judge's server that the command line names may have the key of the environment."""
    from paceline.evaluate.mtbench.judges.keys import name_host

    for given in (flags, flags.get("eval", {}).get("mtbench", {})):
        if "judge_url" in given:
            name_host(given["judge_url"])


def presets(as_json: Json = False) -> None:
    """List the presets and their fields."""
    from rich.table import Table

    from paceline.api.console import SafeConsole
    from paceline.config.presets import PRESETS, PURPOSE
    from paceline.runs.files import json_text

    if as_json:
        print(json_text(PRESETS, indent=1))
        return
    table = Table("preset", "for", "fields")
    for name, fields in PRESETS.items():
        table.add_row(name, PURPOSE[name], ", ".join(f"{key} {value}" for key, value in fields.items()))
    SafeConsole().print(table)

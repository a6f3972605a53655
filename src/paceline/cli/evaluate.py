"""Evaluations that run after training."""

from pathlib import Path
from typing import Annotated

import typer

from paceline.cli.flags import options_from
from paceline.cli.options import Json
from paceline.config.evaluation import CodeTasks, ForgettingEval
from paceline.config.fields import Fields
from paceline.config.load import make

app = typer.Typer(help="Evaluate adapters by what they do.", no_args_is_help=True)


@app.command("code")
@options_from(CodeTasks, "fields", names={"n": ("n",), "samples": ("k", "samples")})
def code(
    runs: Annotated[
        list[Path], typer.Argument(help="Run directories, a study's folder, or adapters in PEFT's format.")
    ],
    fields: Fields,
    out: Annotated[
        Path | None,
        typer.Option(
            "-o", "--out", help="Folder for answers and verdicts; default: eval/ beside the first run."
        ),
    ] = None,
    with_base: Annotated[bool, typer.Option("--with-base", help="Evaluate the bare base too.")] = False,
    accept: Annotated[
        bool,
        typer.Option("--i-accept-unsandboxed", help="Run generated code without a sandbox if there is none."),
    ] = False,
    as_json: Json = False,
) -> None:
    """Run generated code in a sandbox: pass@1 and pass@k with 95% intervals.

    Tasks whose own reference fails are left out.
    """
    import sys

    from paceline.cli.evaluation_tables import print_code
    from paceline.cli.progress import showing
    from paceline.cli.tables import output
    from paceline.evaluate.adapters import load_adapters
    from paceline.evaluate.code.load import load_suite
    from paceline.evaluate.code.run import evaluate_code
    from paceline.evaluate.code.suite import validate
    from paceline.runs.evaluation_status import made_with, set_undone

    config = make(CodeTasks, fields, "eval code")
    tasks, sandbox = load_suite(config, accept)
    folder = out or (runs[0] / "eval")
    with showing("run") as show:
        valid = validate(tasks, sandbox, show.checked)
        for reason, count in valid.left_out.items():
            show.log(f"{count} of {len(tasks)} tasks left out: {reason}")
        adapters = load_adapters(runs, with_base)
        if (made := made_with(folder, "code")) and made["settings"]["suite"] == config.suite:
            set_undone(folder, "code")
        summary = evaluate_code(adapters, valid, sandbox, config, folder, show)
    if as_json:
        print(summary.to_json(indent=1))
    else:
        print_code(summary, output())
        print(f"answers and verdicts are in {folder}", file=sys.stderr)


@app.command("forgetting")
@options_from(ForgettingEval, "fields", names={"n": ("n",)})
def forgetting(
    runs: Annotated[list[Path], typer.Argument(help="Run directories or a study's folder.")],
    fields: Fields,
    as_json: Json = False,
) -> None:
    """What was forgotten: loss on general rows before and after, and the mean KL to the base."""

    from paceline.cli.evaluation_tables import print_forgetting
    from paceline.cli.progress import showing
    from paceline.cli.tables import output
    from paceline.evaluate.adapters import load_adapters, run_paths
    from paceline.evaluate.forgetting import measure_forgetting
    from paceline.runs.evaluation_status import set_undone

    config = make(ForgettingEval, fields, "eval forgetting")
    folders = {path.resolve().name: path / "eval" for path in run_paths(runs)}
    for folder in folders.values():
        folder.mkdir(exist_ok=True)
    with showing("runs measured") as show:
        results = measure_forgetting(load_adapters(runs), config, folders, show)
    for folder in folders.values():
        set_undone(folder, "forgetting")
    if as_json:
        print(results.to_json(indent=1))
    else:
        print_forgetting(results, output())

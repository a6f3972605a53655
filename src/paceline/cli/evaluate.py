"""Evaluations that run after training."""

from pathlib import Path
from typing import Annotated

import typer

from paceline.cli.generate import MaxNewTokens, Seed, Temperature, Thinking, TopP
from paceline.cli.train import Json

app = typer.Typer(help="Evaluate adapters by what they do.", no_args_is_help=True)


@app.command("code")
def code(
    runs: Annotated[
        list[Path], typer.Argument(help="Run directories, a study's folder, or adapters in PEFT's format.")
    ],
    suite: Annotated[
        str,
        typer.Option(
            help="rust (compiled and tested) or problems (competitive programming, run on examples)."
        ),
    ] = "rust",
    data: Annotated[
        str | None, typer.Option(help="Rows with tests or examples; default: the embedded sample.")
    ] = None,
    n: Annotated[int, typer.Option("-n", min=1, help="Tasks, drawn by the seed.")] = 50,
    samples: Annotated[
        int,
        typer.Option("-k", "--samples", min=1, help="Answers to each task, for pass@k (with a temperature)."),
    ] = 1,
    out: Annotated[
        Path | None,
        typer.Option(
            "-o", "--out", help="Folder for answers and verdicts; default: eval/ beside the first run."
        ),
    ] = None,
    with_base: Annotated[bool, typer.Option("--with-base", help="Evaluate the bare base too.")] = False,
    temperature: Temperature = 0.0,
    top_p: TopP = 1.0,
    max_new_tokens: MaxNewTokens = 512,
    thinking: Thinking = True,
    seed: Seed = 0,
    accept: Annotated[
        bool,
        typer.Option("--i-accept-unsandboxed", help="Run generated code without a sandbox if there is none."),
    ] = False,
    as_json: Json = False,
) -> None:
    """Run generated code in a sandbox: pass@1 and pass@k with 95% intervals. Tasks whose own reference fails are left out."""
    import json
    import sys

    from paceline.cli.progress import showing
    from paceline.cli.tables import output, print_code
    from paceline.config.evaluation import CodeTasks
    from paceline.config.load import make
    from paceline.evaluate.adapters import load_adapters
    from paceline.evaluate.code.load import load_suite
    from paceline.evaluate.code.run import evaluate_code
    from paceline.evaluate.code.suite import validate

    wanted = make(
        CodeTasks,
        {"suite": suite, "data": data, "n": n, "samples": samples, "temperature": temperature, "top_p": top_p,
         "max_new_tokens": max_new_tokens, "thinking": thinking, "seed": seed},
        "eval code",
    )  # fmt: skip
    tasks, sandbox = load_suite(wanted, accept)
    folder = out or (runs[0] / "eval")
    with showing("run") as show:
        valid = validate(tasks, sandbox, show.checked)
        for reason, count in valid.left_out.items():
            show.log(f"{count} of {len(tasks)} tasks left out: {reason}")
        summary = evaluate_code(load_adapters(runs, with_base), valid, sandbox, wanted, folder, show)
    if as_json:
        print(json.dumps(summary, indent=1))
    else:
        print_code(summary, output())
        print(f"answers and verdicts are in {folder}", file=sys.stderr)


@app.command("forgetting")
def forgetting(
    runs: Annotated[list[Path], typer.Argument(help="Run directories or a study's folder.")],
    source: Annotated[str, typer.Option(help="Hub data set id, file or folder with general conversations.")],
    config: Annotated[
        str | None, typer.Option(help="Configuration of a hub data set that has several.")
    ] = None,
    split: Annotated[str, typer.Option(help="Split of the source.")] = "train",
    format_name: Annotated[str, typer.Option("--format", help="Format of the rows.")] = "auto",
    n: Annotated[int, typer.Option("-n", min=1, help="Rows, drawn by a fixed seed.")] = 200,
    as_json: Json = False,
) -> None:
    """What was forgotten: loss on general rows before and after, and the mean KL to the base."""
    import json

    from paceline.cli.progress import showing
    from paceline.cli.tables import output, print_forgetting
    from paceline.config.evaluation import ForgettingEval
    from paceline.config.load import make
    from paceline.evaluate.adapters import load_adapters, run_paths
    from paceline.evaluate.forgetting import measure_forgetting

    wanted = make(
        ForgettingEval,
        {"source": source, "config": config, "split": split, "format": format_name, "n": n},
        "eval forgetting",
    )
    folders = {path.resolve().name: path / "eval" for path in run_paths(runs)}
    for folder in folders.values():
        folder.mkdir(exist_ok=True)
    with showing("runs measured") as show:
        found = measure_forgetting(load_adapters(runs), wanted, folders, show)
    if as_json:
        print(json.dumps(found, indent=1))
    else:
        print_forgetting(found, output())

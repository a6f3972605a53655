"""Evaluations that run after training."""

from pathlib import Path
from typing import Annotated

import typer

from paceline.cli.generate import MaxNewTokens, Seed, Temperature, Thinking, TopP
from paceline.cli.train import Json

app = typer.Typer(help="Evaluate adapters by what they do.", no_args_is_help=True)


@app.command("code")
def code(
    runs: Annotated[list[Path], typer.Argument(help="Run directories, a study's folder, or adapters in PEFT's format.")],
    suite: Annotated[str, typer.Option(help="rust (compiled and tested) or problems (competitive programming, run on examples).")] = "rust",
    data: Annotated[str | None, typer.Option(help="Rows with tests or examples; default: the embedded sample.")] = None,
    n: Annotated[int, typer.Option("-n", min=1, help="Tasks, drawn by the seed.")] = 50,
    samples: Annotated[int, typer.Option("-k", "--samples", min=1, help="Answers to each task, for pass@k (with a temperature).")] = 1,
    out: Annotated[
        Path | None, typer.Option("-o", "--out", help="Folder for answers and verdicts; default: eval/ beside the first run.")
    ] = None,
    with_base: Annotated[bool, typer.Option("--with-base", help="Evaluate the bare base too.")] = False,
    temperature: Temperature = 0.0,
    top_p: TopP = 1.0,
    max_new_tokens: MaxNewTokens = 512,
    thinking: Thinking = True,
    seed: Seed = 0,
    accept: Annotated[bool, typer.Option("--i-accept-unsandboxed", help="Run generated code without a sandbox if there is none.")] = False,
    as_json: Json = False,
) -> None:
    """Run generated code in a sandbox: pass@1 and pass@k with 95% intervals. Tasks whose own reference fails are left out."""
    import json
    import sys

    from paceline.cli.progress import answering, counting
    from paceline.cli.tables import output, print_code
    from paceline.evaluate.adapters import open_cast
    from paceline.evaluate.code.load import load_suite
    from paceline.evaluate.code.run import evaluate_code
    from paceline.evaluate.code.suite import validate
    from paceline.evaluate.generate import Sampling

    tasks, sandbox = load_suite(suite, data, n, seed, accept)
    with counting("running the tasks' own answers") as tick:
        valid = validate(tasks, sandbox, lambda: tick(1))
    for reason, count in valid.left_out.items():
        print(f"{count} of {len(tasks)} tasks left out: {reason}", file=sys.stderr)
    cast = open_cast(runs, with_base)
    folder = out or (runs[0] / "eval")
    sampling = Sampling(temperature, top_p, max_new_tokens, seed)
    with answering() as observe, counting("running answers") as tick:
        summary = evaluate_code(cast, valid.tasks, sandbox, folder, suite, sampling, samples, thinking, observe, lambda: tick(1))
    if as_json:
        print(json.dumps({"tasks": len(valid.tasks), "left_out": valid.left_out, "runs": summary}, indent=1))
    else:
        print_code(summary, len(valid.tasks), samples, output())
        print(f"answers and verdicts are in {folder}", file=sys.stderr)

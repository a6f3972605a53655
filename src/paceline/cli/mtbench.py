"""MT-Bench from the command line."""

from pathlib import Path
from typing import Annotated

import typer

from paceline.cli.generate import Thinking
from paceline.cli.train import Json


def mtbench(
    runs: Annotated[
        list[Path], typer.Argument(help="Run directories, a study's folder, or adapters in PEFT's format.")
    ],
    lang: Annotated[
        str,
        typer.Option(help="en or ru (from the hub), or a file or folder with questions in FastChat's form."),
    ] = "en",
    questions: Annotated[
        int, typer.Option(min=0, help="So many questions, spread over the categories; 0: all.")
    ] = 0,
    judge: Annotated[str, typer.Option(help="openai, local, reward or simple.")] = "simple",
    judge_model: Annotated[
        str | None, typer.Option(help="The judge's model: a name at the server, a hub id or a folder.")
    ] = None,
    judge_url: Annotated[
        str | None, typer.Option(help="Address of a server that speaks OpenAI's API.")
    ] = None,
    judge_price: Annotated[
        str | None, typer.Option(help="Cost of a million prompt and answer tokens, as 2.5,10.")
    ] = None,
    judge_prompts: Annotated[
        str | None,
        typer.Option(help="The benchmark's judge_prompts.jsonl, for scores beside published ones."),
    ] = None,
    out: Annotated[
        Path | None,
        typer.Option(
            "-o", "--out", help="Folder for answers, judgments and scores; default: eval/ of the first run."
        ),
    ] = None,
    with_base: Annotated[
        bool,
        typer.Option("--with-base/--without-base", help="Let the bare base answer too, to compare with."),
    ] = True,
    temperature: Annotated[float, typer.Option(min=0, help="0: greedy.")] = 0.0,
    max_new_tokens: Annotated[int, typer.Option(min=1)] = 1024,
    thinking: Thinking = False,
    as_json: Json = False,
) -> None:
    """Two-turn questions, graded answer by answer; scores with 95% intervals and the change from the base. Stopped, the same command goes on."""
    import json

    from paceline.cli.progress import showing
    from paceline.cli.tables import output, print_mtbench
    from paceline.config.evaluation import MTBench
    from paceline.config.load import make
    from paceline.evaluate.adapters import load_adapters
    from paceline.evaluate.mtbench.judges import open_judge
    from paceline.evaluate.mtbench.questions import load_questions
    from paceline.evaluate.mtbench.run import run_mtbench

    wanted = make(
        MTBench,
        {"lang": lang, "questions": questions, "judge": judge, "judge_model": judge_model, "judge_url": judge_url, "judge_price": judge_price, "thinking": thinking,
         "judge_prompts": judge_prompts, "temperature": temperature, "max_new_tokens": max_new_tokens},
        "mtbench",
    )  # fmt: skip
    load_questions(wanted.lang)
    adapter_set = load_adapters(runs, with_base)
    folder = out or runs[0] / "eval"
    grader = open_judge(wanted, adapter_set, folder / "judge-replies")
    with showing("graded") as show:
        summary = run_mtbench(adapter_set, wanted, grader, folder, show)
    if as_json:
        print(json.dumps(summary, indent=1))
    else:
        print_mtbench(summary, output())

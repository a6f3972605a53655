"""MT-Bench from the command line."""

from pathlib import Path
from typing import Annotated

import typer

from paceline.cli.flags import options_from
from paceline.cli.options import Json
from paceline.config.evaluation import MTBench
from paceline.config.fields import Fields
from paceline.config.load import make


@options_from(MTBench, "fields", exclude=("when", "during"))
def mtbench(
    runs: Annotated[
        list[Path], typer.Argument(help="Run directories, a study's folder, or adapters in PEFT's format.")
    ],
    fields: Fields,
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
    as_json: Json = False,
) -> None:
    """Two-turn questions, graded answer by answer; scores with 95% intervals and the change from the base.

    After a stop the same command goes on.
    """
    from paceline.cli.evaluation_tables import print_mtbench
    from paceline.cli.progress import showing
    from paceline.cli.tables import output
    from paceline.evaluate.adapters import load_adapters
    from paceline.evaluate.mtbench.judges.judge import open_judge
    from paceline.evaluate.mtbench.judges.keys import name_host
    from paceline.evaluate.mtbench.questions import load_questions
    from paceline.evaluate.mtbench.run import run_mtbench
    from paceline.runs.evaluation_status import set_undone

    config = make(MTBench, fields, "mtbench")
    if config.judge_url is not None:
        name_host(config.judge_url)
    load_questions(config.lang)
    adapter_set = load_adapters(runs, with_base)
    folder = out or runs[0] / "eval"
    grader = open_judge(config, adapter_set, folder / "judge-replies")
    set_undone(folder, "mtbench")
    with showing("graded") as show:
        summary = run_mtbench(adapter_set, config, grader, folder, show)
    if as_json:
        print(summary.to_json(indent=1))
    else:
        print_mtbench(summary, output())

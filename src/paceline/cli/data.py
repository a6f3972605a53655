"""Look at data, and make some."""

from pathlib import Path
from typing import Annotated, Any

import typer

from paceline.cli.train import Json

app = typer.Typer(help="Look at data sets, and make them.", no_args_is_help=True)


@app.command("show")
def show(
    source: Annotated[str, typer.Argument(help="Hub data set id, file or folder.")],
    base: Annotated[str, typer.Option(help="Base whose tokenizer and chat template are used.")] = "embedded",
    split: Annotated[str, typer.Option()] = "train",
    format: Annotated[str, typer.Option(help="Format of the rows; auto: recognised from the columns.")] = "auto",
    n: Annotated[int | None, typer.Option("-n", "--num-examples", help="Look at a seeded sample of this many rows.")] = None,
    example: Annotated[int, typer.Option(min=1, help="Which example to render, counted from 1.")] = 1,
    as_json: Json = False,
) -> None:
    """Rows, tasks, token lengths, and one example as the model sees it, its supervised tokens in colour."""
    import json

    from paceline.cli.datatables import print_data
    from paceline.cli.tables import output
    from paceline.config.load import make_recipe
    from paceline.data.describe import describe
    from paceline.train.prepare import Preparer

    given: dict[str, Any] = {"source": source, "split": split, "format": format, "n": n}
    recipe = make_recipe({"base": base, "data": given}, "data show")
    preparer = Preparer()
    facts = describe(preparer.tokens(base, recipe.data), preparer.chat(base), example - 1)
    if as_json:
        print(json.dumps({key: value for key, value in facts.items() if key != "example"}, indent=1))
    else:
        print_data(source, facts, output())


@app.command("from-rust")
def from_rust(
    folder: Annotated[Path, typer.Argument(help="Folder with Rust sources: a crate, or many.")],
    out: Annotated[Path, typer.Option("-o", "--out", help="Parquet or JSONL file to write.")],
    seed: Annotated[int, typer.Option(help="Seed of what is cut, renamed and broken.")] = 0,
    limit: Annotated[int | None, typer.Option("-n", help="At most this many rows, sampled.")] = None,
) -> None:
    """Make task rows in Strandset-Rust's schema out of Rust code: completion, docs, tests, naming, bugs, reviews, …"""
    from collections import Counter

    from paceline.data.from_rust import make_rows, write_rows

    rows = make_rows(folder, seed, limit)
    write_rows(rows, out)
    for task, count in sorted(Counter(row["task_category"] for row in rows).items()):
        print(f"{count:>7}  {task}")
    print(f"{len(rows):>7}  rows in {out}")

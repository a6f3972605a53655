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
    format: Annotated[
        str, typer.Option(help="Format of the rows; auto: recognised from the columns.")
    ] = "auto",
    n: Annotated[
        int | None, typer.Option("-n", "--num-examples", help="Look at a seeded sample of this many rows.")
    ] = None,
    example: Annotated[int, typer.Option(min=1, help="Which example to render, counted from 1.")] = 1,
    as_json: Json = False,
) -> None:
    """Rows, tasks, token lengths, and one example as the model sees it, its supervised tokens in colour."""
    import json
    from dataclasses import asdict

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
        print(json.dumps({key: value for key, value in asdict(facts).items() if key != "example"}, indent=1))
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

    import pyarrow as pa

    from paceline.data.rust.rows import make_rows
    from paceline.data.write import check_ending, write_rows

    check_ending(out)
    rows = make_rows(folder, seed, limit)
    write_rows(pa.Table.from_pylist(rows), out)
    for task, count in sorted(Counter(row["task_category"] for row in rows).items()):
        print(f"{count:>7}  {task}")
    print(f"{len(rows):>7}  rows in {out}")


@app.command("clean")
def clean(
    source: Annotated[str, typer.Argument(help="Hub data set id, file or folder.")],
    out: Annotated[Path, typer.Option("-o", "--out", help="Parquet or JSONL file to write.")],
    base: Annotated[str, typer.Option(help="Base whose tokenizer counts the tokens.")] = "embedded",
    split: Annotated[str, typer.Option()] = "train",
    format: Annotated[
        str, typer.Option(help="Format of the rows; auto: recognised from the columns.")
    ] = "auto",
    duplicates: Annotated[str, typer.Option(help="none, exact or near.")] = "near",
    threshold: Annotated[
        float, typer.Option(help="Jaccard similarity of token 5-grams that makes near duplicates.")
    ] = 0.8,
    min_answer: Annotated[int, typer.Option(help="Shortest answer kept, in tokens.")] = 2,
    max_length: Annotated[int | None, typer.Option(help="Longest example kept, in tokens.")] = None,
    outliers: Annotated[
        float | None,
        typer.Option(help="Interquartile ranges of log length beyond which a length is odd; 0: any."),
    ] = 3.0,
    max_repetition: Annotated[
        float | None, typer.Option(help="Largest share of an answer's 5-grams that repeat; 0: any.")
    ] = 0.8,
    as_json: Json = False,
) -> None:
    """Write a source without copies, near copies and odd rows, and count what each rule removed."""
    import json

    from paceline.cli.progress import counting
    from paceline.config.load import make_recipe
    from paceline.data.clean import clean_rows
    from paceline.data.write import check_ending, write_rows
    from paceline.train.prepare import Preparer

    check_ending(out)
    rules = {
        "duplicates": duplicates, "threshold": threshold, "min_answer": min_answer, "max_length": max_length,
        "outliers": outliers or None, "max_repetition": max_repetition or None,
    }  # fmt: skip
    recipe = make_recipe(
        {"base": base, "data": {"source": source, "split": split, "format": format, "clean": rules}},
        "data clean",
    )
    assert recipe.data.clean is not None
    with counting("looking for copies") as on_progress:
        rows, removed = clean_rows(recipe.data, recipe.data.clean, Preparer().chat(base), on_progress)
    write_rows(rows, out)
    if as_json:
        print(json.dumps({"kept": len(rows), "removed": removed}, indent=1))
        return
    for rule, count in removed.items():
        print(f"{count:>9,}  removed: {rule}")
    print(f"{len(rows):>9,}  rows in {out}")

"""Look at data, and make some."""

from pathlib import Path
from typing import Annotated

import typer

from paceline.cli.flags import options_from
from paceline.cli.options import Json
from paceline.config.data import Clean, Data
from paceline.config.fields import Fields
from paceline.config.load import make
from paceline.config.recipe import Recipe

app = typer.Typer(help="Look at data sets, and make them.", no_args_is_help=True)


@app.command("show")
@options_from(
    Data,
    "sample",
    only=(
        "config",
        "split",
        "format",
        "columns",
        "thinking",
        "chat_template",
        "subset",
        "n",
        "sample_ratio",
        "seed",
        "revision",
        "stream",
        "max_bad_rows",
        "packing",
    ),
    names={"n": ("n", "num_examples")},
)
def show(
    source: Annotated[str, typer.Argument(help="Hub data set id, file or folder.")],
    sample: Fields,
    base: Annotated[str, typer.Option(help="Base whose tokenizer and chat template are used.")] = "embedded",
    example: Annotated[
        int | None,
        typer.Option(min=1, help="Which example to render, counted from 1; default: the first of each kind."),
    ] = None,
    max_length: Annotated[
        int | None, typer.Option(min=8, help="With --packing: tokens of an example.  [default: 1024]")
    ] = None,
    as_json: Json = False,
) -> None:
    """Rows, tasks, token lengths, and examples as the model sees them, their supervised tokens in colour."""
    from dataclasses import asdict

    from paceline.cli.datatables import print_data
    from paceline.cli.progress import say
    from paceline.cli.tables import output
    from paceline.data.chat import load_chat
    from paceline.data.describe import describe
    from paceline.data.packing import pack
    from paceline.data.progress import telling
    from paceline.data.split import split
    from paceline.data.tokens import load_tokens
    from paceline.errors import ConfigError
    from paceline.runs.files import json_text

    data = make(Data, {**sample, "source": source}, "data show")
    if max_length is not None and not data.packing:
        raise ConfigError("data show: --max-length goes with --packing; without it nothing is cut")
    length = max_length or Recipe.model_fields["max_length"].default
    chat = load_chat(base, data.chat_template)
    with telling(say):
        dataset = load_tokens(data, chat)
    packed = pack(dataset, split(dataset, data.eval_ratio, length), length) if data.packing else None
    summary = describe(dataset, chat, None if example is None else example - 1, packed)
    if as_json:
        print(json_text(asdict(summary), indent=1))
    else:
        print_data(source, summary, output(), length)


@app.command("from-rust")
def from_rust(
    folder: Annotated[Path, typer.Argument(help="Folder with Rust sources: a crate, or many.")],
    out: Annotated[Path, typer.Option("-o", "--out", help="Parquet or JSONL file to write.")],
    seed: Annotated[int, typer.Option(help="Seed of what is cut, renamed and broken.")] = 0,
    limit: Annotated[int | None, typer.Option("-n", help="At most this many rows, sampled.")] = None,
) -> None:
    """Make task rows in Strandset-Rust's schema out of Rust code: completion, docs, tests, naming, bugs, …"""
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
@options_from(Clean, "rules")
@options_from(Data, "rows_of", only=("config", "split", "format", "columns"))
def clean(
    source: Annotated[str, typer.Argument(help="Hub data set id, file or folder.")],
    out: Annotated[Path, typer.Option("-o", "--out", help="Parquet or JSONL file to write.")],
    rows_of: Fields,
    rules: Fields,
    base: Annotated[str, typer.Option(help="Base whose tokenizer counts the tokens.")] = "embedded",
    as_json: Json = False,
) -> None:
    """Write a source without copies, near copies and odd rows, and count what each rule removed."""
    from paceline.cli.progress import counting, say
    from paceline.data.chat import load_chat
    from paceline.data.clean import clean_rows
    from paceline.data.progress import telling
    from paceline.data.write import check_ending, write_rows
    from paceline.runs.files import json_text

    check_ending(out)
    data = make(Data, {**rows_of, "source": source}, "data clean")
    with counting("looking for copies") as on_progress, telling(say):
        chat = load_chat(base, data.chat_template)
        rows, removed = clean_rows(data, make(Clean, rules, "data clean"), chat, on_progress)
    write_rows(rows, out)
    if as_json:
        print(json_text({"kept": len(rows), "removed": removed}, indent=1))
        return
    for rule, count in removed.items():
        print(f"{count:>9,}  removed: {rule}")
    print(f"{len(rows):>9,}  rows in {out}")

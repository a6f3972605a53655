"""Task rows in Strandset-Rust's schema out of a folder of Rust sources."""

import json
import random
from collections import defaultdict
from pathlib import Path

from paceline.data.rust.items import Function, find_functions
from paceline.data.rust.tasks import MAKERS, FunctionInContext
from paceline.errors import DataError


def make_rows(folder: Path, seed: int, limit: int | None = None) -> list[dict[str, str]]:
    """Task rows made from the documented functions in a folder of Rust sources.

    Columns: crate_name, task_category, input_data (repr of a dict, as most of the data set has it),
    output_data (JSON), and test, the unit tests that call the function. A function's rows depend on the
    seed, its crate and its name alone.

    Args:
        limit: at most this many rows, sampled.

    Raises:
        DataError: no Rust source, or no documented function in any.
    """
    functions = find_functions(folder)
    if not functions:
        raise DataError(f"{folder}: no documented function (`/// …` above `fn`) in its Rust sources")
    crates: dict[str, list[Function]] = defaultdict(list)
    for function in functions:
        crates[function.crate].append(function)
    rows = []
    for number, function in enumerate(functions):
        rng = random.Random(f"{seed} {function.crate} {function.name} {number}")
        neighbours = crates[function.crate]
        near = neighbours.index(function)
        context = FunctionInContext(function, neighbours[max(0, near - 6) : near + 7], rng)
        for task, maker in MAKERS.items():
            for given, answer in maker(context):
                row = {
                    "crate_name": function.crate,
                    "task_category": task,
                    "test": "\n\n".join(function.tests),
                }
                rows.append(
                    {**row, "input_data": repr(given), "output_data": json.dumps(answer, ensure_ascii=False)}
                )
    if limit is not None and limit < len(rows):
        rows = random.Random(seed).sample(rows, limit)
    return rows

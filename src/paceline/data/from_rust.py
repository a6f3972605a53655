"""Task rows in Strandset-Rust's schema out of a folder of Rust sources."""

import json
import random
from collections import defaultdict
from pathlib import Path

from paceline.data.rust.items import Function, find_functions
from paceline.data.rust.tasks import MAKERS, Source
from paceline.errors import DataError


def make_rows(folder: Path, seed: int, limit: int | None = None) -> list[dict[str, str]]:
    """Rows with crate_name, task_category, input_data (repr of a dict, as most of the data set has it), output_data (JSON) and test.

    A function's rows depend on the seed, its crate and its name alone. `test` holds the unit tests that call the function.
    """
    functions = find_functions(folder)
    if not functions:
        raise DataError(f"{folder}: no documented function (`/// …` above `fn`) in its Rust sources")
    crates: dict[str, list[Function]] = defaultdict(list)
    for function in functions:
        crates[function.crate].append(function)
    rows = []
    for place, function in enumerate(functions):
        rng = random.Random(f"{seed} {function.crate} {function.name} {place}")
        neighbours = crates[function.crate]
        near = neighbours.index(function)
        source = Source(function, neighbours[max(0, near - 6) : near + 7], rng)
        for task, maker in MAKERS.items():
            for given, wanted in maker(source):
                row = {
                    "crate_name": function.crate,
                    "task_category": task,
                    "test": "\n\n".join(function.tests),
                }
                rows.append(
                    {**row, "input_data": repr(given), "output_data": json.dumps(wanted, ensure_ascii=False)}
                )
    if limit is not None and limit < len(rows):
        rows = random.Random(seed).sample(rows, limit)
    return rows

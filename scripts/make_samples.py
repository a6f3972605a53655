"""Writes the embedded samples in the schemas of T-Wix and codeforces-cots.

python scripts/make_samples.py
"""

from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
from samples.dialogues import dialogue_rows
from samples.problems import problem_rows

HERE = Path(__file__).parents[1] / "src" / "paceline" / "embedded"

if __name__ == "__main__":
    for name, rows in (("twix", dialogue_rows()), ("codeforces", problem_rows())):
        pq.write_table(pa.Table.from_pylist(rows), HERE / f"{name}.parquet", compression="zstd")
        print(f"{len(rows):>6}  {name}")

"""What the package carries to work offline: a small base and sample data."""

from pathlib import Path

HERE = Path(__file__).parent
BASE = HERE / "base"
RUST = HERE / "rust.parquet"
TWIX = HERE / "twix.parquet"
CODEFORCES = HERE / "codeforces.parquet"
QUESTIONS = HERE / "questions"
TEMPLATES = HERE / "templates"

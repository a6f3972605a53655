"""docs/doctor.md is what its script writes."""

import runpy
from pathlib import Path

ROOT = Path(__file__).parents[2]


def test_the_page_is_up_to_date() -> None:
    script = runpy.run_path(str(ROOT / "scripts" / "make_doctor_page.py"))
    assert (ROOT / "docs" / "doctor.md").read_text() == script["page"]()

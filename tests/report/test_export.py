"""The two files: all sections are there, and what others wrote stays text."""

import re
from typing import Any

from paceline.report.export import _cell, _fence


def test_markdown_holds_no_markup_of_others(written: Any) -> None:
    _, markdown, _ = written
    outside = re.sub(r"^(`{3,})text\n.*?^\1$", "", markdown.read_text(), flags=re.DOTALL | re.MULTILINE)
    assert not re.search(r"(?<!\\)<(script|img)", outside)
    assert _cell("a|b\n<i>`") == r"a\|b \<i\>\`"
    assert _fence("x\n````\ny").startswith("`````text\n")


def test_all_sections_are_there(written: Any) -> None:
    _, markdown, page = written
    for heading in ("Conclusions", "Results", "Δ by task", "MT-Bench", "Code that was run", "What was forgotten", "Against the published figures", "Base and data",
                    "Recipes", "Time and cost", "The doctor's findings", "Answers before and after"):  # fmt: skip
        assert f"## {heading}" in markdown.read_text()
        assert re.search(f"<h2( id=[^>]*)?>{heading}", page.read_text())

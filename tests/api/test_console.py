"""What data, names and answers hold commands no terminal."""

import io
import re

import pytest
from rich.table import Table
from rich.text import Text

from paceline.api.console import SafeConsole
from paceline.errors import visible

EVIL = "a\x1b]8;;http://evil\x07b\x1b[2J\rc\u202ed\x9b31m"


@pytest.mark.parametrize("text", ["plain", "two\nlines\tand a tab", "é 🦀 👩\u200d👩 \u00a0 نص"])
def test_text_without_commands_stays(text: str) -> None:
    assert visible(text) == text


def test_a_table_and_a_line_show_what_would_be_obeyed() -> None:
    file = io.StringIO()
    console = SafeConsole(file=file, force_terminal=True, color_system="standard", width=120)
    table = Table("name")
    table.add_row(Text(EVIL))
    console.print(table)
    console.print(EVIL, style="red", markup=False)
    written = file.getvalue()
    assert "\x1b[31m" in written, "its own colours stay"
    rest = re.sub(r"\x1b\[[0-9;]*m", "", written)
    assert not set("\x1b\r\x07\x9b\u202e") & set(rest)
    assert r"\x1b[2Jc\u202ed\x9b31m" in rest

"""The guide's code runs as it stands there, from top to bottom; so does the notebook."""

import json
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


@pytest.mark.slow
def test_the_code_of_the_guide_runs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "studies").symlink_to(ROOT / "studies")
    monkeypatch.chdir(tmp_path)
    blocks = re.findall(r"```python\n(.*?)```", (ROOT / "docs" / "python.md").read_text(), re.DOTALL)
    assert len(blocks) >= 8
    names = {}
    for number, block in enumerate(blocks, 1):
        exec(compile(block, f"docs/python.md, block {number}", "exec"), names)
    assert names["result"].state == "finished"
    assert names["stopped"].status.state == "stopped"
    assert "{'lr':" in capsys.readouterr().out


def test_the_guide_is_wrapped() -> None:
    assert max(map(len, (ROOT / "docs" / "python.md").read_text().splitlines())) <= 100


@pytest.mark.parametrize("name", ["quickstart", "learn"])
def test_a_notebook_is_committed_without_outputs(name: str) -> None:
    cells = json.loads((ROOT / "examples" / f"{name}.ipynb").read_text())["cells"]
    code = [cell for cell in cells if cell["cell_type"] == "code"]
    assert len(code) >= 8
    assert all(cell["outputs"] == [] and cell["execution_count"] is None for cell in code)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "drawings", "said"),
    [
        ("quickstart", 3, ["verdict", "low-coverage"]),
        (
            "learn",
            3,
            ["LEARNED  'fn ", "rank of what they add: 4", ": worse", "loss-above-start"],
        ),
    ],
)
def test_a_notebook_runs(
    name: str, drawings: int, said: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    nbformat = pytest.importorskip("nbformat")
    nbclient = pytest.importorskip("nbclient")
    pytest.importorskip("ipykernel")
    monkeypatch.setenv("TOKENIZERS_PARALLELISM", "false")
    notebook = nbformat.read(ROOT / "examples" / f"{name}.ipynb", as_version=4)
    nbclient.NotebookClient(notebook, timeout=300, resources={"metadata": {"path": str(tmp_path)}}).execute()
    outputs = [output for cell in notebook.cells if cell.cell_type == "code" for output in cell.outputs]
    shown = ["".join(o["data"].get("text/html", "")) for o in outputs if "data" in o]
    printed = "".join(o["text"] for o in outputs if o.output_type == "stream")
    assert sum("<svg" in html for html in shown) >= drawings
    assert [text for text in said if text not in printed + "".join(shown)] == []

"""Really full: small file systems without a byte, or without an inode, left while a run trains on them."""

import json
from pathlib import Path

import pytest
from full_disk import fill_disks

from helpers import MakeBase
from warm_process import WARM

pytestmark = [pytest.mark.slow, pytest.mark.sandbox]


def test_a_full_disk_costs_no_checkpoint_and_with_room_the_same_bits_come(
    tiny_base: MakeBase, tmp_path: Path
) -> None:
    rows, out = tmp_path / "rows.jsonl", tmp_path / "found.json"
    texts = ({"prompt": f"What is {i}?", "completion": f"It is {i + 1}."} for i in range(20))
    rows.write_text("".join(json.dumps(text) + "\n" for text in texts))
    process = WARM.Process(target=fill_disks, args=(tiny_base(), str(rows), str(tmp_path), str(out)))
    process.start()
    process.join()
    assert process.exitcode == 0
    for what, found in json.loads(out.read_text()).items():
        for refused in (found["full"], found["again"]):
            said = [line for line in refused["errors"].splitlines() if line.startswith("error: ")]
            assert (refused["code"], len(said)) == (2, 1), (what, refused)
            assert "Traceback" not in refused["errors"]
        assert "no room left on the disk, or no inodes" in found["full"]["errors"], found
        assert found["newest"] >= 4, (what, found)
        assert (found["damage"], found["partial"]) == ("", []), (what, found)
        assert (found["ended"]["code"], found["same"]) == (0, True), (what, found)

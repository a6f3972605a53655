"""A Trackio server that only has faults to give: the run ends as if there were none."""

import json


def test_a_faulty_server_harms_no_run(paceline, hub, tmp_path):
    hub.faults += [("GET /version", 500), ("GET /config", 429), ("POST /.*", 401)] * 3
    done = paceline(
        "train", "--base", "embedded", "--data", "embedded:rust", "-n", "40", "--max-steps", "2", "--logging-steps", "1", "--run-name", "x", "--no-check",
        "--track", "trackio", "--space", f"{hub.url}?write_token=very-secret",
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert hub.asked, "the server was never asked"
    assert json.loads((tmp_path / "runs" / "x" / "status.json").read_text())["state"] == "finished"
    assert "Traceback" not in done.stderr

"""A study over two nodes of a Ray cluster on this machine, one of which dies; the other takes over."""

import json
import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from paceline.config.load import load_study
from paceline.launch.ray import GPU_KIND, _where, split_study
from paceline.training.study import train_study
from warm_process import run_warm

pytestmark = pytest.mark.slow

# Ray's workers yield to whatever else runs here (nice 15); beside other tests they would hardly run at all.
QUIET = {
    "OMP_NUM_THREADS": "1",
    "RAY_worker_niceness": "0",
    "RAY_DEDUP_LOGS": "0",
    "RAY_USAGE_STATS_ENABLED": "0",
}
STUDY = """study: six
recipe:
  base: embedded
  data: {source: "embedded:rust", n: 60, eval_ratio: 0.25}
  lr: 1e-3
  batch_size: 2
  grad_accum: 1
  max_steps: 20
  save_steps: 2
  logging_steps: 5
runs:
  - {name: a}
  - {name: b, lora_r: 8}
  - {name: c, lr: 2e-3}
  - {name: d, seed: 7}
  - {name: e, lora_dropout: 0.1}
  - {name: f, init_from: b, lora_r: 8}
"""

DRIVER = """
import sys, time
from concurrent.futures import ThreadPoolExecutor
import ray
from ray.cluster_utils import Cluster
from pathlib import Path
from paceline.launch.ray import launch
environment = {"OMP_NUM_THREADS": "1"}
node = {"num_cpus": 1, "object_store_memory": 10**8}
cluster = Cluster(initialize_head=True, head_node_args={**node, "include_dashboard": False})
mortal = cluster.add_node(**node)
ray.init(address=cluster.address, log_to_driver=False, runtime_env={"env_vars": environment})
with ThreadPoolExecutor() as pool:  # only a main thread may end nodes
    study = pool.submit(launch, Path(sys.argv[1]), sys.argv[2], None, 2, print)
    while not study.done() and not any((Path(sys.argv[2]) / "six").glob("*/checkpoints/step-*")):
        time.sleep(0.05)
    cluster.remove_node(mortal, allow_graceful=False)
    print("killed", flush=True)
    print(study.result(), flush=True)
"""


def test_cohorts_are_even_and_keep_families_together(tmp_path: Path) -> None:
    (tmp_path / "six.yaml").write_text(STUDY)
    study = load_study(tmp_path / "six.yaml")
    parts = split_study(study, 2)
    assert [[run.name for run in part.runs] for part in parts] == [["b", "d", "f"], ["a", "c", "e"]] or all(
        len(part.runs) == 3 for part in parts
    )
    assert sorted(run.name for part in parts for run in part.runs) == list("abcdef")
    family = next(part for part in parts if any(run.name == "f" for run in part.runs))
    assert {"b", "f"} <= {run.name for run in family.runs}
    assert len(split_study(study, 50)) == 5


def test_a_node_dies_and_the_adapters_are_the_local_ones(tmp_path: Path) -> None:
    (tmp_path / "six.yaml").write_text(STUDY)
    environment = {**os.environ, **QUIET}
    done = subprocess.run(
        [sys.executable, "-c", DRIVER, str(tmp_path / "six.yaml"), str(tmp_path / "shared")],
        env=environment,
        capture_output=True,
        text=True,
        check=False,
        timeout=500,
    )
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-4000:]
    assert "killed" in done.stdout
    local = run_warm(
        "study", "run", tmp_path / "six.yaml", "--runs", tmp_path / "local", "--no-check", cwd=tmp_path
    )
    assert local.returncode == 0, local.stderr
    for name in "abcdef":
        folders = [tmp_path / place / "six" / name for place in ("shared", "local")]
        assert json.loads((folders[0] / "status.json").read_text())["state"] == "finished"
        weights = [(folder / "adapter" / "adapter_model.safetensors").read_bytes() for folder in folders]
        assert weights[0] == weights[1], name
    runs = Path(tmp_path / "shared" / "six" / "study.yaml").read_text()
    assert all(f"name: {name}" in runs for name in "abcdef")


SMALL = """
import sys
import ray
from ray.cluster_utils import Cluster
from pathlib import Path
from paceline.errors import PacelineError
from paceline.launch.ray import launch
node = {"num_cpus": 1, "memory": 2 * 10**8, "object_store_memory": 10**8}
cluster = Cluster(initialize_head=True, head_node_args=node)
ray.init(address=cluster.address, log_to_driver=False)
try:
    launch(Path(sys.argv[1]), sys.argv[2], None, 1, print)
except PacelineError as error:
    print("refused:", error)
"""


def test_a_cohort_that_fits_on_no_node_is_refused(tmp_path: Path) -> None:
    (tmp_path / "six.yaml").write_text(STUDY.split("  - {name: b")[0])
    done = subprocess.run(
        [sys.executable, "-c", SMALL, str(tmp_path / "six.yaml"), str(tmp_path / "shared")],
        env={**os.environ, **QUIET},
        capture_output=True,
        text=True,
        check=False,
        timeout=300,
    )
    assert done.returncode == 0, done.stderr[-4000:]
    assert "refused: a:" in done.stdout
    assert "the largest device has 0.2" in done.stdout
    assert not (tmp_path / "shared").exists()


def test_a_task_goes_to_a_gpu_that_is_large_enough() -> None:
    kinds = {"T4": 16, "A100": 80, "H100": 80}
    assert _where(40, kinds)["label_selector"] == {GPU_KIND: "in(A100, H100)"}
    assert _where(10, kinds)["label_selector"] == {GPU_KIND: "in(A100, H100, T4)"}
    assert "label_selector" not in _where(10, {"": 16})
    assert _where(10, {})["memory"] == 10


def test_behind_a_url_runs_are_copied_there_and_go_on_from_there(tmp_path: Path) -> None:
    from paceline.launch.ray import _Local

    (tmp_path / "s.yaml").write_text(STUDY.replace("max_steps: 20", "max_steps: 4"))
    study = load_study(tmp_path / "s.yaml")
    part = study.model_copy(update={"runs": study.runs[:1]})
    url = f"local://{tmp_path}/store"
    with _Local(url, "six") as folder:
        folder.fetch(["a"])
        train_study(part, folder.path)
    assert (tmp_path / "store" / "six" / "a" / "adapter" / "adapter_model.safetensors").is_file()
    began = time.time()
    with _Local(url, "six") as folder:
        folder.fetch(["a"])
        assert train_study(part, folder.path).skipped == ["a"]
    assert time.time() > began

"""What `paceline plan` says of memory against what training takes, and what logging norms costs.

python benchmarks/plan.py --out benchmarks/results/plan-cpu.json
"""

import argparse
import json
import os
import platform
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import yaml

SHAPES = {
    "27M": {
        "hidden_size": 512,
        "intermediate_size": 1536,
        "num_hidden_layers": 8,
        "num_attention_heads": 8,
        "num_key_value_heads": 4,
        "head_dim": 64,
    },
    "76M": {
        "hidden_size": 768,
        "intermediate_size": 2304,
        "num_hidden_layers": 10,
        "num_attention_heads": 12,
        "num_key_value_heads": 4,
        "head_dim": 64,
    },
    "210M": {
        "hidden_size": 1024,
        "intermediate_size": 3072,
        "num_hidden_layers": 16,
        "num_attention_heads": 16,
        "num_key_value_heads": 8,
        "head_dim": 64,
    },
}


def make_base(folder: Path, shape: dict) -> None:
    """A Qwen3 of that shape with random weights and the embedded tokenizer."""
    import torch
    from transformers import Qwen3Config, Qwen3ForCausalLM

    from paceline.data.chat import load_tokenizer

    tokenizer = load_tokenizer("embedded")
    torch.manual_seed(0)
    ids = {
        "eos_token_id": tokenizer.eos_token_id,
        "pad_token_id": tokenizer.pad_token_id,
        "bos_token_id": None,
    }
    config = Qwen3Config(
        vocab_size=len(tokenizer), tie_word_embeddings=True, max_position_embeddings=4096, **shape, **ids
    )
    Qwen3ForCausalLM(config).save_pretrained(folder)
    tokenizer.save_pretrained(folder)


def measure(folder: Path, shape: dict) -> dict:
    make_base(folder / "base", shape)
    runs = [{"name": "r16", "lora_r": 16, "lora_alpha": 32}, {"name": "r64", "lora_r": 64, "lora_alpha": 128}]
    recipe = {
        "base": str(folder / "base"),
        "data": {"source": "embedded:rust", "n": 60},
        "max_steps": 4,
        "batch_size": 4,
        "grad_accum": 2,
        "logging_steps": 1,
    }
    study = folder / "study.yaml"
    study.write_text(yaml.safe_dump({"study": "memory", "recipe": recipe, "runs": runs}))
    command = [sys.executable, "-m", "paceline"]
    said = json.loads(
        subprocess.run(
            [*command, "plan", str(study), "--json"], check=True, capture_output=True, text=True
        ).stdout
    )[0]
    code = (
        "import resource, sys; from paceline.cli.main import main\n"
        "try: main()\n"
        "finally: print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss, file=sys.stderr)"
    )
    trained = subprocess.run(
        [sys.executable, "-c", code, "study", "run", str(study), "--runs", str(folder / "runs")],
        check=True,
        capture_output=True,
        text=True,
    )
    peak = int(trained.stderr.splitlines()[-1]) * 1024
    return {
        "planned_mib": said["total"] // 2**20,
        "parts_mib": {name: size // 2**20 for name, size in said["memory"].items()},
        "measured_mib": peak // 2**20,
        "planned_over_measured": round(said["total"] / peak, 3),
        "planned_seconds": [round(run["seconds"], 1) for run in said["runs"]],
        "measured_seconds": [
            round(
                json.loads((folder / "runs" / "memory" / run["name"] / "status.json").read_text())["seconds"],
                1,
            )
            for run in runs
        ],
        "norms": norms_cost(folder / "base", folder / "runs" / "memory" / "r64"),
    }


def norms_cost(base_folder: Path, run: Path) -> dict:
    """Milliseconds to log one line's norms, and their share of a step of the trained run."""
    from paceline.model.base import load_base
    from paceline.runs.directory import RunDirectory
    from paceline.training.norms import adapter_norms

    directory = RunDirectory(run)
    base = load_base(str(base_folder))
    adapter = base.new_adapter(directory.recipe())
    adapter.load(directory.adapter)
    adapter_norms(adapter, base.weight_norms)
    began = time.perf_counter()
    for _ in range(10):
        adapter_norms(adapter, base.weight_norms)
    took = (time.perf_counter() - began) / 10
    status = directory.status()
    return {
        "milliseconds": round(took * 1000, 2),
        "share_of_step": round(took / (status.seconds / status.step), 5),
    }


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--out", type=Path)
    args = parser.parse_args()
    report: dict = {"machine": f"{platform.machine()}, {os.cpu_count()} cores"}
    for name, shape in SHAPES.items():
        with tempfile.TemporaryDirectory() as scratch:
            report[name] = measure(Path(scratch), shape)
        print(name, json.dumps(report[name], indent=1), flush=True)
    if args.out:
        args.out.write_text(json.dumps(report, indent=1) + "\n")


if __name__ == "__main__":
    main()

"""What `share_prefixes` saves: the same run with and without it, on a Qwen3-shaped model of 27M, on a CPU.

    python benchmarks/prefixes.py --out benchmarks/results/prefixes-cpu.json

Rust rows as they are, and the same rows under a system prompt of 250 words; each in fp32 and in bf16,
without dropout, so that both learn the same. Contenders take turns. `saved`: the share of the tokens
that have no row of their own; seconds are a core's, of the training loop.
"""

import argparse
import json
import os
import platform
import tempfile
import time
from pathlib import Path

from study import SHAPES, prepare

SYSTEM = " ".join(
    f"Rule {i}: answer with code, and say in a line what clause {i * 7} asks." for i in range(16)
)


def write_rows(folder: Path) -> dict[str, str]:
    """The rows under a system prompt; returns {what it is: source}."""
    from paceline.data.sources import Source, load_rows

    rows = load_rows(Source("embedded:rust")).read(range(200))
    with (folder / "system.jsonl").open("w") as file:
        for row in rows:
            talk = [
                {"role": "system", "content": SYSTEM},
                {"role": "user", "content": f"{row['task_category']}\n{json.dumps(row['input_data'])}"},
                {"role": "assistant", "content": json.dumps(row["output_data"])},
            ]
            file.write(json.dumps({"messages": talk}) + "\n")
    return {"Rust": "embedded:rust", "Rust under a system prompt": str(folder / "system.jsonl")}


def train(base: str, source: str, dtype: str, shared: bool, out: Path) -> dict[str, float]:
    """Seconds of the loop, the held-out loss, and the share of tokens without a row."""
    import torch

    from paceline.config.load import make_recipe
    from paceline.config.study import Run, Study
    from paceline.training import cohort, micro_batches
    from paceline.training.study import train_study

    fields = {"batch_size": 8, "grad_accum": 2, "max_steps": 6, "max_length": 1024, "lora_dropout": 0.0}
    data = {"source": source, "n": 120, "eval_ratio": 0.1}
    recipe = make_recipe(
        {**fields, "base": base, "data": data, "dtype": dtype, "share_prefixes": shared}, "run"
    )
    counted, pack, loop, took = [0, 0], micro_batches.pack_sequences, cohort.Cohort.train, []

    def count(sequences: list, *args: object, **kwargs: object) -> object:
        batch = pack(sequences, *args, **kwargs)
        if torch.is_grad_enabled():
            counted[0] += batch.input_ids.shape[1]
            counted[1] += sum(len(ids) for ids, _ in sequences)
        return batch

    def timed(self: cohort.Cohort) -> None:
        began = time.process_time()
        loop(self)
        took.append(time.process_time() - began)

    micro_batches.pack_sequences, cohort.Cohort.train = count, timed
    try:
        train_study(Study(name="prefixes", runs=[Run(name="run", recipe=recipe)]), out)
    finally:
        micro_batches.pack_sequences, cohort.Cohort.train = pack, loop
    lines = [json.loads(line) for line in (out / "run" / "events.jsonl").read_text().splitlines()]
    loss = [line for line in lines if line["event"] == "eval"][-1]["loss"]
    return {"seconds": took[0], "loss": loss, "saved": 1 - counted[0] / counted[1]}


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--repeats", type=int, default=2)
    parser.add_argument("--out", type=Path)
    args = parser.parse_args()
    found: dict[str, dict] = {}
    with tempfile.TemporaryDirectory() as scratch:
        prepare(Path(scratch), 24, SHAPES["wide"])
        for repeat in range(args.repeats):
            for name, source in write_rows(Path(scratch)).items():
                for dtype in ("float32", "bfloat16"):
                    own = found.setdefault(f"{name}, {dtype}", {"plain": [], "shared": []})
                    for kind in own:
                        out = Path(scratch) / f"{repeat}-{name}-{dtype}-{kind}"
                        own[kind].append(train(f"{scratch}/base", source, dtype, kind == "shared", out))
                    print(name, dtype, own, flush=True)
    report: dict = {"machine": f"{platform.machine()}, {os.cpu_count()} cores", "model": SHAPES["wide"]}
    for name, own in found.items():
        fastest = {kind: min(one["seconds"] for one in several) for kind, several in own.items()}
        report[name] = {
            "seconds": fastest,
            "ratio": fastest["plain"] / fastest["shared"],
            "saved": own["shared"][0]["saved"],
            "held-out loss": {kind: several[0]["loss"] for kind, several in own.items()},
        }
    print(json.dumps(report, indent=1))
    if args.out:
        args.out.write_text(json.dumps(report, indent=1) + "\n")


if __name__ == "__main__":
    main()

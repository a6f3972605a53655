"""MT-Bench answers of five adapters, greedy, on a CPU in fp32: all at once, and one after another elsewhere.

    python benchmarks/generation.py --out benchmarks/results/generation-cpu.json

Both sides answer two turns of the same questions with the same adapters (rank 16 on all projections, really
trained for a few steps, so that they differ) and the same number of conversations of an adapter in a batch.
transformers gets its better setting: adapters merged into the weights (PEFT's merge_and_unload), prompts
sorted by length, left padding, SDPA; the unmerged PEFT model is shown beside it. Contenders take turns in one
process each; loading is not counted, for neither; with one thread a core's own seconds are, so that a busy
machine does as well. Tokens are those of the answers, without padding; answers
are compared. `limit` is what products and attention alone leave possible (see `generation_limit`).
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

from generation_limit import at_best, limit

NAMES = ["r1", "r2", "r3", "r4", "r5"]
SHAPE = {
    "hidden_size": 512,
    "intermediate_size": 1536,
    "num_hidden_layers": 8,
    "num_attention_heads": 8,
    "num_key_value_heads": 4,
    "head_dim": 64,
    "tie_word_embeddings": True,
    "max_position_embeddings": 4096,
}


def prepare(folder: Path, kind: str) -> None:
    """Five trained runs over the embedded base, or over a random Qwen3-shaped model of 30M parameters."""
    import torch
    from transformers import Qwen3Config, Qwen3ForCausalLM

    from paceline.config.load import make_recipe
    from paceline.config.study import Run, Study
    from paceline.data.chat import load_tokenizer
    from paceline.training.study import train_study

    base = "embedded"
    if kind == "30M":
        tokenizer = load_tokenizer("embedded")
        torch.manual_seed(0)
        ids = {
            "eos_token_id": tokenizer.eos_token_id,
            "pad_token_id": tokenizer.pad_token_id,
            "bos_token_id": None,
        }
        Qwen3ForCausalLM(Qwen3Config(vocab_size=len(tokenizer), **SHAPE, **ids)).save_pretrained(
            folder / "base"
        )
        tokenizer.save_pretrained(folder / "base")
        base = str(folder / "base")
    common = {
        "base": base,
        "data": {"source": "embedded:twix", "n": 80},
        "lora_r": 16,
        "lora_alpha": 32,
        "lr": 2e-3,
        "batch_size": 4,
        "grad_accum": 1,
    }
    runs = [
        Run(name=name, recipe=make_recipe({**common, "max_steps": 8, "seed": seed}, name))
        for seed, name in enumerate(NAMES)
    ]
    train_study(Study(name="five", runs=runs), folder / "runs")


def questions(limit: int) -> list:
    from dataclasses import replace

    from paceline.evaluate.mtbench.questions import load_questions

    both = [*load_questions("embedded:en"), *load_questions("embedded:ru")]
    return [replace(q, id=f"{number}", reference=None) for number, q in enumerate(both)][:limit]


def ours(folder: Path, batch: int, tokens: int, limit: int) -> dict:
    from dataclasses import replace

    from paceline.evaluate.adapters import load_adapters
    from paceline.evaluate.generate import Sampling
    from paceline.evaluate.mtbench.converse import converse

    adapter_set = replace(load_adapters([folder / "runs"]), sequences=batch * len(NAMES))
    with tempfile.TemporaryDirectory() as scratch:
        began, worked = time.perf_counter(), time.process_time()
        said = converse(
            adapter_set,
            questions(limit),
            Path(scratch) / "answers.jsonl",
            Sampling(max_new_tokens=tokens),
            False,
        )
        seconds, core_seconds = time.perf_counter() - began, time.process_time() - worked
        count = sum(
            json.loads(line)["tokens"] for line in (Path(scratch) / "answers.jsonl").read_text().splitlines()
        )
    return {
        "seconds": seconds,
        "core_seconds": core_seconds,
        "tokens": count,
        "answers": {f"{run} {name}": texts for (run, name), texts in said.items()},
    }


def theirs(folder: Path, batch: int, tokens: int, limit: int, merged: bool) -> dict:
    import torch
    from peft import PeftModel
    from transformers import AutoModelForCausalLM

    from paceline import embedded
    from paceline.evaluate.adapters import load_adapters

    adapter_set = load_adapters([folder / "runs" / NAMES[0]])
    tokenizer, stop = adapter_set.chat.tokenizer, sorted(adapter_set.stop_tokens())
    path = embedded.BASE if adapter_set.base.name == "embedded" else adapter_set.base.name
    seconds, core_seconds, count, asked_tokens, answers = 0.0, 0.0, 0, 0, {}
    for name in NAMES:
        model = PeftModel.from_pretrained(
            AutoModelForCausalLM.from_pretrained(path, dtype=torch.float32),
            str(folder / "runs" / name / "adapter"),
        )
        model = (model.merge_and_unload() if merged else model).eval()
        asked = questions(limit)
        said = {q.id: [] for q in asked}
        began, worked = time.perf_counter(), time.process_time()
        for turn in range(2):
            prompts = []
            for q in asked:
                turns = []
                for text, answer in zip(q.turns, said[q.id], strict=False):
                    turns += [{"role": "user", "content": text}, {"role": "assistant", "content": answer}]
                prompts.append(
                    (q.id, adapter_set.prompt([*turns, {"role": "user", "content": q.turns[turn]}], False))
                )
            asked_tokens += sum(len(ids) for _, ids in prompts)
            prompts.sort(key=lambda item: len(item[1]))
            for start in range(0, len(prompts), batch):
                part = prompts[start : start + batch]
                longest = max(len(ids) for _, ids in part)
                ids = torch.tensor([[tokenizer.pad_token_id] * (longest - len(p)) + p for _, p in part])
                mask = torch.tensor([[0] * (longest - len(p)) + [1] * len(p) for _, p in part])
                with torch.no_grad():
                    out = model.generate(
                        input_ids=ids,
                        attention_mask=mask,
                        max_new_tokens=tokens,
                        do_sample=False,
                        eos_token_id=stop,
                        pad_token_id=tokenizer.pad_token_id,
                    )
                for (key, _), row in zip(part, out[:, longest:].tolist(), strict=True):
                    end = next((place for place, token in enumerate(row) if token in stop), len(row))
                    count += end
                    said[key].append(adapter_set.text(row[:end]))
        seconds += time.perf_counter() - began
        core_seconds += time.process_time() - worked
        answers |= {f"{name} {key}": texts for key, texts in said.items()}
    return {
        "seconds": seconds,
        "core_seconds": core_seconds,
        "tokens": count,
        "prompt_tokens": asked_tokens,
        "answers": answers,
    }


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--questions", type=int, default=24)
    parser.add_argument("--tokens", type=int, default=96)
    parser.add_argument("--batches", type=int, nargs="+", default=[8, 24])
    parser.add_argument("--repeats", type=int, default=2)
    parser.add_argument("--threads", type=int, default=os.cpu_count(), help="of every contender")
    parser.add_argument("--models", nargs="+", default=["embedded", "30M"])
    parser.add_argument("--out", type=Path)
    parser.add_argument("--contender", nargs=3)
    args = parser.parse_args()
    if args.contender:
        name, folder, batch = args.contender
        if name == "limit":
            print(json.dumps(limit(Path(folder), int(batch), len(NAMES))))
            return
        common = (Path(folder), int(batch), args.tokens, args.questions)
        print(json.dumps(ours(*common) if name == "paceline" else theirs(*common, merged=name == "merged")))
        return
    import torch
    import transformers

    report: dict = {
        "machine": f"{platform.machine()}, {os.cpu_count()} cores",
        "threads": args.threads,
        "torch": torch.__version__,
        "transformers": transformers.__version__,
        "questions": args.questions,
        "turns": 2,
        "max_new_tokens": args.tokens,
        "models": {},
    }
    for kind in args.models:
        with tempfile.TemporaryDirectory() as scratch:
            prepare(Path(scratch), kind)
            measured = report["models"].setdefault(kind, {})
            for batch in args.batches:
                measured[f"batch {batch}"] = measure(args, scratch, batch)
                if args.out:
                    args.out.write_text(json.dumps(report, indent=1) + "\n")
    print(json.dumps(report, indent=1))


def contend(args: argparse.Namespace, name: str, folder: str, batch: int) -> dict:
    """What a contender says, in a process of its own."""
    command = [sys.executable, __file__, "--contender", name, folder, str(batch)]
    command += ["--questions", str(args.questions), "--tokens", str(args.tokens)]
    environment = os.environ | {"OMP_NUM_THREADS": str(args.threads)}
    done = subprocess.run(command, stdout=subprocess.PIPE, check=True, text=True, env=environment)
    return json.loads(done.stdout.splitlines()[-1])


def measure(args: argparse.Namespace, folder: str, batch: int) -> dict:
    found: dict[str, list[dict]] = {"paceline": [], "merged": [], "unmerged": []}
    limits = []
    for _ in range(args.repeats):
        for name, results in found.items():
            results.append(contend(args, name, folder, batch))
        limits.append(contend(args, "limit", folder, batch))
    # threads that wait for each other spend a core's time too
    clock = "core_seconds" if args.threads == 1 else "seconds"
    best = {name: min(results, key=lambda result: result[clock]) for name, results in found.items()}
    same = [
        best["paceline"]["answers"][key] == best["unmerged"]["answers"][key]
        for key in best["paceline"]["answers"]
    ]
    report = {
        name: {
            "seconds": round(r["seconds"], 1),
            "core_seconds": round(r["core_seconds"], 1),
            "tokens": r["tokens"],
            "tokens_a_second": round(r["tokens"] / r[clock]),
        }
        for name, r in best.items()
    }
    report["ratio_to_merged"] = round(
        report["paceline"]["tokens_a_second"] / report["merged"]["tokens_a_second"], 2
    )
    report["ratio_to_unmerged"] = round(
        report["paceline"]["tokens_a_second"] / report["unmerged"]["tokens_a_second"], 2
    )
    costs = {name: min(turn[name] for turn in limits) for name in limits[0]}
    report["limit"] = at_best(best["merged"], best["merged"][clock], costs, batch, len(NAMES))
    report["least_milliseconds"] = {name: float(f"{cost:.3g}") for name, cost in costs.items()}
    report["conversations_equal_to_unmerged"] = f"{sum(same)} of {len(same)}"
    return report


if __name__ == "__main__":
    main()

"""Five heterogeneous LoRA runs on a Qwen3-shaped model of 30M parameters, on a CPU, against TRL.

Both in fp32 and in bf16:

    python benchmarks/study.py --rows 48 --repeats 2 --out benchmarks/results/study-cpu.json

Every contender is a process of its own and is timed from its start to its last saved adapter; contenders take
turns, so that a slow minute of the machine hits all. TRL gets tokenized data, fused AdamW, no checkpointing
and sparse logging, and the per-device batch that was the fastest of `--batches` in a trial on the same
machine, for each of its precisions: weights in fp32, weights in bf16, bf16 autocast over weights in fp32.
Tokens are counted without padding. `losing` lists TRL's contenders that beat Paceline in fp32, or, of those
in bf16, Paceline in bf16. `--wide` leaves bf16 out, for CPUs that have no instructions for it.
"""

import argparse
import json
import os
import platform
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

# What each side computes in. Paceline's bf16 is that of `dtype: bfloat16`.
OURS = ("float32", "bfloat16")
THEIRS = ("float32", "bfloat16", "autocast")
RUNS = {
    "r8": {"lora_r": 8, "lora_alpha": 16, "lora_dropout": 0.0, "batch_size": 4, "grad_accum": 1, "lr": 1e-4},
    "r16": {
        "lora_r": 16,
        "lora_alpha": 32,
        "lora_dropout": 0.05,
        "batch_size": 4,
        "grad_accum": 4,
        "lr": 2e-5,
    },
    "r16-small": {
        "lora_r": 16,
        "lora_alpha": 32,
        "lora_dropout": 0.1,
        "batch_size": 2,
        "grad_accum": 4,
        "lr": 2e-5,
    },
    "r32": {
        "lora_r": 32,
        "lora_alpha": 64,
        "lora_dropout": 0.1,
        "batch_size": 8,
        "grad_accum": 2,
        "lr": 5e-5,
    },
    "r64": {
        "lora_r": 64,
        "lora_alpha": 128,
        "lora_dropout": 0.05,
        "batch_size": 8,
        "grad_accum": 4,
        "lr": 2e-5,
    },
}
SHAPES = {
    # a large share of frozen linears: 2.1M of 27M parameters are the embedding
    "wide": {
        "hidden_size": 512,
        "intermediate_size": 1536,
        "num_hidden_layers": 8,
        "num_attention_heads": 8,
        "num_key_value_heads": 4,
        "head_dim": 64,
        "vocab_size": 4096,
    },
    # Qwen3-0.6B's own proportions: attention twice as wide as the hidden states, MLP three times, a quarter
    # of 30M parameters the embedding
    "qwen3": {
        "hidden_size": 384,
        "intermediate_size": 1152,
        "num_hidden_layers": 10,
        "num_attention_heads": 6,
        "num_key_value_heads": 3,
        "head_dim": 128,
        "vocab_size": 20480,
    },
}
MAX_LENGTH = 1024


# -- what both sides train on --


def prepare(folder: Path, count: int, shape: dict[str, int]) -> dict[str, int]:
    """Writes the model, the rows (300 to 520 tokens each) and the same rows tokenized for TRL."""
    import numpy as np
    import torch
    from datasets import Dataset
    from transformers import Qwen3Config, Qwen3ForCausalLM

    from paceline.config.data import Data
    from paceline.data.chat import Chat, load_tokenizer
    from paceline.data.split import split
    from paceline.data.tokens import load_tokens

    tokenizer = load_tokenizer("embedded")
    torch.manual_seed(0)
    ids = {
        "eos_token_id": tokenizer.eos_token_id,
        "pad_token_id": tokenizer.pad_token_id,
        "bos_token_id": None,
    }
    config = Qwen3Config(tie_word_embeddings=True, max_position_embeddings=4096, **shape, **ids)
    Qwen3ForCausalLM(config).save_pretrained(folder / "base")
    tokenizer.save_pretrained(folder / "base")

    whole = load_tokens(Data(source="embedded:rust"), Chat(tokenizer))
    fitting = [i for i in range(len(whole)) if 300 <= whole.lengths[i] <= 520][: count + 2]
    decoded = [whole.table[i]["row"] for i in fitting]
    from paceline.data.sources import Source, load_rows

    rows = load_rows(Source("embedded:rust")).select(np.array(decoded))
    rows.table.to_parquet(str(folder / "rows.parquet"))
    dataset = load_tokens(Data(source=str(folder / "rows.parquet")), Chat(tokenizer))
    train = split(dataset, 1.5 / len(dataset), MAX_LENGTH).train
    pairs = [dataset.example(i) for i in train]
    labels = [np.where(mask == 1, tokens, -100).tolist() for tokens, mask in pairs]
    Dataset.from_dict({"input_ids": [t.tolist() for t, _ in pairs], "labels": labels}).save_to_disk(
        str(folder / "tokens")
    )
    return {
        "examples": len(train),
        "tokens": int(sum(len(t) for t, _ in pairs)),
        "supervised": int(sum(m.sum() for _, m in pairs)),
        "eval_ratio_times_1e6": round(1.5e6 / len(dataset)),
    }


# -- the contenders, each in its own process --


def recipes(folder: Path) -> dict[str, dict]:
    """The runs' settings by name, for every contender the same."""
    return json.loads((folder / "runs.json").read_text())


def train_paceline(folder: Path, names: list[str], out: Path, precision: str) -> None:
    from paceline.config.load import make_recipe
    from paceline.config.study import Run, Study
    from paceline.training.study import train_study

    ratio = json.loads((folder / "facts.json").read_text())["eval_ratio_times_1e6"] / 1e6
    common = {
        "base": str(folder / "base"),
        "data": {"source": str(folder / "rows.parquet"), "eval_ratio": ratio},
        "max_length": MAX_LENGTH,
        "dtype": precision,
    }
    wanted = recipes(folder)
    runs = [
        Run(name=name, recipe=make_recipe({**common, **wanted[name], "logging_steps": 1000}, name))
        for name in names
    ]
    outcome = train_study(Study(name="benchmark", runs=runs), out)
    assert set(outcome.states().values()) == {"finished"}


def train_trl(folder: Path, names: list[str], out: Path, precision: str, batch: int | None) -> None:
    """batch None: TRL's defaults for everything but what the recipe says."""
    import torch
    from datasets import load_from_disk
    from peft import LoraConfig
    from transformers import AutoModelForCausalLM, AutoTokenizer
    from trl import SFTConfig, SFTTrainer

    tokenizer = AutoTokenizer.from_pretrained(folder / "base")
    data = load_from_disk(str(folder / "tokens"))
    dtype = torch.bfloat16 if precision == "bfloat16" else torch.float32
    for name in names:
        run = recipes(folder)[name]
        effective = run["batch_size"] * run["grad_accum"]
        device_batch = run["batch_size"] if batch is None else min(batch, effective)
        tuned = (
            {}
            if batch is None
            else {"gradient_checkpointing": False, "optim": "adamw_torch_fused", "logging_steps": 1000}
        )
        config = SFTConfig(
            output_dir=str(out / name),
            num_train_epochs=1,
            per_device_train_batch_size=device_batch,
            gradient_accumulation_steps=effective // device_batch,
            learning_rate=run["lr"],
            lr_scheduler_type="cosine",
            warmup_steps=0.1,
            max_length=MAX_LENGTH,
            report_to=[],
            use_cpu=True,
            bf16=precision == "autocast",
            save_strategy="no",
            disable_tqdm=True,
            dataset_kwargs={"skip_prepare_dataset": True},
            **tuned,
        )
        lora = LoraConfig(
            r=run["lora_r"],
            lora_alpha=run["lora_alpha"],
            lora_dropout=run["lora_dropout"],
            task_type="CAUSAL_LM",
            target_modules=["q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"],
        )
        model = AutoModelForCausalLM.from_pretrained(folder / "base", dtype=dtype)
        trainer = SFTTrainer(
            model=model, args=config, train_dataset=data, processing_class=tokenizer, peft_config=lora
        )
        trainer.train()
        trainer.save_model(str(out / name))


# -- measuring --


def launch(
    folder: Path,
    contender: str,
    names: list[str],
    precision: str,
    batch: int | None = None,
    threads: int | None = None,
) -> subprocess.Popen[bytes]:
    command = [sys.executable, __file__, "--worker", contender, "--folder", str(folder), "--names", *names]
    command += ["--precision", precision]
    command += ["--batch", str(batch)] if batch else []
    environment = {
        **os.environ,
        "HF_HUB_OFFLINE": "1",
        "TOKENIZERS_PARALLELISM": "false",
        "CUDA_VISIBLE_DEVICES": "",
    }
    environment |= {"OMP_NUM_THREADS": str(threads)} if threads else {}
    return subprocess.Popen(command, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)


def timed(*jobs: tuple) -> tuple[float, float]:
    """(seconds from the first start to the last end, largest peak memory of a process in MiB)."""
    began = time.perf_counter()
    processes = [launch(*job) for job in jobs]
    peaks = []
    for process in processes:
        _, errors = process.communicate()
        if process.returncode:
            raise SystemExit(errors.decode()[-3000:])
        peaks.append(float(errors.decode().rsplit("peak ", 1)[1]))
    return time.perf_counter() - began, max(peaks)


def gemm_rate(shape: dict[str, int]) -> float:
    """FLOP/s of the machine's own fp32 matrix product at the model's shapes."""
    import torch

    inner, outer = shape["hidden_size"], shape["intermediate_size"]
    x, w = torch.randn(2048, inner), torch.randn(inner, outer)
    for _ in range(5):
        x @ w
    began = time.perf_counter()
    for _ in range(100):
        x @ w
    return 100 * 2 * 2048 * inner * outer / (time.perf_counter() - began)


def useful_flops(facts: dict[str, int], shape: dict[str, int]) -> float:
    """FLOPs that the runs need: frozen linears both ways, LoRA, output projection, attention."""
    h, ff, layers = shape["hidden_size"], shape["intermediate_size"], shape["num_hidden_layers"]
    q, kv = (shape[name] * shape["head_dim"] for name in ("num_attention_heads", "num_key_value_heads"))
    linears = [(h, q), (h, kv), (h, kv), (q, h), (h, ff), (h, ff), (ff, h)]
    frozen = layers * sum(4 * i * o for i, o in linears)
    lora = sum(layers * 6 * run["lora_r"] * sum(i + o for i, o in linears) for run in RUNS.values()) / len(
        RUNS
    )
    length = facts["tokens"] / facts["examples"]
    attention = (
        layers * 3.5 * 2 * length * q
    )  # causal: half of the 4 L h forward; the backward is 2.5 times that
    return len(RUNS) * (
        facts["tokens"] * (frozen + lora + attention) + facts["supervised"] * 4 * h * shape["vocab_size"]
    )


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--shape", choices=SHAPES, default="wide")
    parser.add_argument("--rows", type=int, default=48)
    parser.add_argument("--repeats", type=int, default=2)
    parser.add_argument("--out", type=Path)
    parser.add_argument("--batches", type=int, nargs="+", default=[1, 2, 4, 8])
    parser.add_argument("--skip-defaults", action="store_true")
    parser.add_argument("--wide", action="store_true")
    parser.add_argument("--worker")
    parser.add_argument("--folder", type=Path)
    parser.add_argument("--names", nargs="+")
    parser.add_argument("--precision", choices=THEIRS)
    parser.add_argument("--batch", type=int)
    args = parser.parse_args()
    if args.worker:
        with tempfile.TemporaryDirectory() as out:
            if args.worker == "paceline":
                train_paceline(args.folder, args.names, Path(out), args.precision)
            else:
                train_trl(args.folder, args.names, Path(out), args.precision, args.batch)
        print(f"peak {resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024:.0f}", file=sys.stderr)
        return
    with tempfile.TemporaryDirectory() as scratch:
        report = measure(Path(scratch), args)
    print(json.dumps(report, indent=1))
    if args.out:
        args.out.write_text(json.dumps(report, indent=1) + "\n")


def ours(precision: str) -> str:
    return f"paceline, {precision}, five at once"


def measure(folder: Path, args: argparse.Namespace) -> dict:
    shape = SHAPES[args.shape]
    facts = prepare(folder, args.rows, shape)
    (folder / "facts.json").write_text(json.dumps(facts))
    (folder / "runs.json").write_text(json.dumps(RUNS))
    names = list(RUNS)
    print(f"{facts}", flush=True)
    mine, peers_in = (("float32",), ("float32",)) if args.wide else (OURS, THEIRS)
    trial = {
        precision: {batch: timed((folder, "trl", ["r16"], precision, batch))[0] for batch in args.batches}
        for precision in peers_in
    }
    print(f"trial of one run, seconds by per-device batch: {trial}", flush=True)
    jobs = {ours(precision): [(folder, "paceline", names, precision)] for precision in mine}
    for precision, times in trial.items():
        best = min(times, key=times.get)
        how = f"TRL tuned, {precision}, batch {best}"
        jobs[f"{how}, one after another"] = [(folder, "trl", names, precision, best)]
        jobs[f"{how}, two processes with a thread each"] = [
            (folder, "trl", part, precision, best, 1) for part in (["r64", "r8", "r16-small"], ["r32", "r16"])
        ]
    seconds: dict[str, list[float]] = {name: [] for name in jobs}
    peaks: dict[str, float] = {}
    for _ in range(args.repeats):
        for name, processes in jobs.items():
            took, peak = timed(*processes)
            seconds[name].append(took)
            peaks[name] = max(peak, peaks.get(name, 0))
            print(f"{name}: {took:.1f} s, peak {peak:.0f} MiB", flush=True)
    _, alone_peak = timed((folder, "paceline", ["r64"], "float32"))
    if not args.skip_defaults:
        seconds["TRL defaults, one after another"] = [timed((folder, "trl", names, "float32"))[0]]
    rate, tokens = gemm_rate(shape), facts["tokens"] * len(RUNS)
    fastest = {name: min(values) for name, values in seconds.items()}
    peers = {name: took for name, took in fastest.items() if "tuned" in name}
    wide = {name: took for name, took in peers.items() if "float32" in name}
    plain, half = (fastest.get(ours(precision), fastest[ours("float32")]) for precision in OURS)
    return {
        "machine": f"{platform.processor() or platform.machine()}, {os.cpu_count()} cores",
        "versions": versions(),
        "shape": shape,
        "facts": facts,
        "trial_seconds_by_batch": trial,
        "seconds": seconds,
        "tokens_per_second": {n: tokens / min(v) for n, v in seconds.items()},
        "load": os.getloadavg()[0],
        "ratio_to_fastest_peer": min(peers.values()) / min(plain, half),
        "ratio_to_fastest_peer_in_float32": min(wide.values()) / plain,
        "ratios_to_float32": {name: took / plain for name, took in fastest.items()},
        "ratios_to_bfloat16": {name: took / half for name, took in fastest.items()},
        "losing": [name for name, took in peers.items() if took < (plain if name in wide else half)],
        "peak_mib": {**peaks, "paceline, one alone": alone_peak},
        "peak_five_over_one": peaks[ours("float32")] / alone_peak,
        "gemm_gflops": rate / 1e9,
        "share_of_gemm_rate": useful_flops(facts, shape) / plain / rate,
    }


def versions() -> dict[str, str]:
    from importlib.metadata import version

    return {
        "python": platform.python_version(),
        **{name: version(name) for name in ("paceline", "torch", "transformers", "trl", "peft")},
    }


if __name__ == "__main__":
    main()

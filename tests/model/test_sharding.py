"""How a base is spread over processes; that a spread one trains is in training/test_distributed."""

import multiprocessing
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.distributed as dist
from transformers import GPTJConfig, GPTJForCausalLM

from helpers import MakeBase, random_sequences
from paceline.errors import ModelError
from paceline.model.base import load_base, wrap_model
from paceline.model.batch import pack_sequences, use_batch
from paceline.model.quantization import BaseFormat
from paceline.model.segment import Segment
from paceline.model.sharding import shard


def test_a_model_without_a_list_of_layers_is_refused() -> None:
    config = GPTJConfig(vocab_size=50, n_positions=64, n_embd=16, n_layer=1, n_head=2, rotary_dim=4)
    base = wrap_model(GPTJForCausalLM(config), "gptj")
    with pytest.raises(ModelError, match="base 'gptj': no list of layers to spread"):
        shard(base, 2, base.device)


def test_a_quantized_base_is_refused(tiny_base: MakeBase) -> None:
    base = load_base(tiny_base(), base_format=BaseFormat("nf4"))
    with pytest.raises(ModelError, match="is quantized; --shard-base spreads unquantized bases only"):
        shard(base, 2, base.device)


@pytest.mark.slow
def test_a_process_holds_its_share_of_the_layers_also_after_a_forward(
    tiny_base: MakeBase, tmp_path: Path
) -> None:
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["torch", "transformers", "paceline.model.base"])
    told = context.Queue()
    ranks = [context.Process(target=_hold, args=(rank, tiny_base(), str(tmp_path), told)) for rank in (0, 1)]
    for rank in ranks:
        rank.start()
    shares = [told.get(timeout=300) for _ in ranks]
    for rank in ranks:
        rank.join(300)
    assert shares == [pytest.approx([0.5, 0.5], abs=0.02)] * 2


def _hold(rank: int, folder: str, scratch: str, told: Any) -> None:
    """Tells the share of the layers that a process holds after `shard`, and after a forward."""
    torch.set_num_threads(1)
    dist.init_process_group("gloo", init_method=f"file://{scratch}/meet", rank=rank, world_size=2)
    base = load_base(folder)
    layers: Any = base.model.base_model.layers
    whole = sum(parameter.numel() for parameter in layers.parameters())

    def share() -> float:
        own = (p.to_local() if hasattr(p, "to_local") else p for p in layers.parameters())
        return float(sum(parameter.numel() for parameter in own) / whole)

    shard(base, 2, base.device)
    shares = [share()]
    batch = pack_sequences(random_sequences((40,)), [Segment(0, 40, None)], base.device)
    with use_batch(batch), torch.no_grad():
        base.hidden(batch)
    told.put([*shares, share()])
    dist.destroy_process_group()

"""The text tower of a model that also sees: trained as text, loaded by PEFT over the whole model."""

import warnings
from pathlib import Path

import pytest
import torch
from peft import PeftModel
from transformers import Gemma3Config, Gemma3ForConditionalGeneration

from paceline.config.load import make_recipe
from paceline.model.base import load_base
from paceline.model.batch import pack_sequences, use_batch
from paceline.model.segment import Segment

TEXT = {
    "hidden_size": 64,
    "intermediate_size": 128,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "head_dim": 16,
    "vocab_size": 300,
    "sliding_window": 64,
}
VISION = {
    "hidden_size": 32,
    "intermediate_size": 64,
    "num_hidden_layers": 1,
    "num_attention_heads": 2,
    "image_size": 28,
    "patch_size": 14,
}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    torch.manual_seed(0)
    config = Gemma3Config(
        text_config=TEXT,
        vision_config=VISION,
        mm_tokens_per_image=4,
        image_token_index=299,
        boi_token_index=297,
        eoi_token_index=298,
    )
    path = tmp_path_factory.mktemp("seeing")
    Gemma3ForConditionalGeneration(config).save_pretrained(path)
    return path


@pytest.mark.parametrize("targets", [["q_proj", "down_proj"], "all-linear"])
def test_an_adapter_of_the_text_tower_is_the_same_over_the_whole_model(
    folder: Path, tmp_path: Path, targets: object
) -> None:
    recipe = make_recipe(
        {"base": str(folder), "data": "rows.jsonl", "lora_r": 4, "target_modules": targets}, "test"
    )
    base = load_base(str(folder))
    adapter = base.new_adapter(recipe)
    torch.manual_seed(1)
    adapter.parameters.normal_(0, 0.05)
    adapter.save(tmp_path, recipe)
    ids = torch.arange(5, 45)
    batch = pack_sequences([(ids, ids)], [Segment(0, len(ids), adapter)], torch.device("cpu"))
    with torch.no_grad(), use_batch(batch):
        ours = base.hidden(batch) @ base.head.t()
    whole = Gemma3ForConditionalGeneration.from_pretrained(folder)
    with warnings.catch_warnings():
        warnings.filterwarnings("error", message=".*missing adapter keys.*")
        tuned = PeftModel.from_pretrained(whole, str(tmp_path)).eval()
    with torch.no_grad():
        theirs = tuned(input_ids=ids[None]).logits[0]
    torch.testing.assert_close(ours, theirs, rtol=1e-5, atol=1e-6)
    with tuned.disable_adapter(), torch.no_grad():
        assert not torch.allclose(tuned(input_ids=ids[None]).logits[0], theirs, atol=1e-3)

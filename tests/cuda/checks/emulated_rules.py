"""What the emulation itself must see, or nothing that runs on it says anything."""

import pytest
import torch
from emulation import Card, counting
from flash import ContractError
from torch.nn.attention.varlen import varlen_attn

from paceline.kernels.philox import keep_rows
from paceline.model.memory import upload

CUDA = torch.device("cuda")


def test_tensors_on_two_devices_are_refused_with_the_line(card: Card) -> None:
    here, there = torch.ones(3, device=CUDA), torch.ones(3)
    with pytest.raises(RuntimeError, match=r"add: tensors on several devices.*emulated_rules\.py:\d+: _ = "):
        _ = here + there
    assert (here + torch.tensor(2.0)).cpu().tolist() == [3.0, 3.0, 3.0]  # as CUDA allows


def test_waits_uploads_and_launches_are_counted(card: Card) -> None:
    with counting() as counts:
        ones = torch.ones(4, device=CUDA)
        upload(torch.arange(4), CUDA)
        twice = ones.view(2, 2) * 2
    assert (counts.launches, sum(counts.waits.values())) == (2, 0)
    assert [place.split(" at ")[0] for place in counts.uploads] == ["pinned upload"]
    with counting() as counts:
        torch.arange(4).to(CUDA)
        float(twice.sum())
        ones.nonzero()
        ones[ones > 0]
        ones[torch.tensor([0])]
        ones.cpu()
        torch.cuda.synchronize()
    assert sum(counts.waits.values()) == 7


@pytest.mark.parametrize(
    ("change", "rule"),
    [
        ({"dtype": torch.float32}, "half-precision"),
        ({"width": 20}, "multiple of 8"),
        ({"bounds": torch.int64}, "int32"),
        ({"stride": True}, "last dimension is contiguous"),
    ],
)
def test_flash_attention_takes_what_its_kernel_takes(card: Card, change: dict, rule: str) -> None:
    width = change.get("width", 16)
    q = torch.randn(6, 2, width, device=CUDA).to(change.get("dtype", torch.bfloat16))
    q = q.transpose(1, 2).contiguous().transpose(1, 2) if "stride" in change else q
    bounds = torch.arange(0, 7, 3, device=CUDA).to(change.get("bounds", torch.int32))
    with pytest.raises(ContractError, match=f"{rule}.*emulated_rules"):
        varlen_attn(q, q, q, bounds, bounds, 3, 3, window_size=(-1, 0))


def test_a_rows_mask_is_its_own(card: Card) -> None:
    numbers = torch.arange(400, device=CUDA)
    whole = keep_rows(numbers, 30, 7, 2**31, 0.25)
    assert torch.equal(whole[100:].cpu(), keep_rows(numbers[100:], 30, 7, 2**31, 0.25).cpu())
    assert float((~whole).cpu().double().mean()) == pytest.approx(0.25, abs=0.02)
    for other in (keep_rows(numbers, 30, 8, 2**31, 0.25), keep_rows(numbers, 30, 7, 3, 0.25)):
        assert float((whole == other).cpu().double().mean()) == pytest.approx(0.625, abs=0.02)

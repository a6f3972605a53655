"""Several processes that train one run together: what torchrun starts. Alone, everything here is nothing."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import torch
import torch.distributed as dist
from torch import Tensor

from paceline.errors import PacelineError, TrainingError
from paceline.model.allocator import grow_segments


@dataclass(frozen=True)
class DistributedContext:
    """This process's place among `size`.

    `sharded`: the base's layers are spread over all of them (FSDP2), so all must run the same forwards.
    """

    rank: int = 0
    size: int = 1
    sharded: bool = False

    def all_reduce(self, tensor: Tensor) -> None:
        """Sums a tensor over all processes, in place."""
        if self.size > 1:
            dist.all_reduce(tensor)

    @property
    def device(self) -> str:
        """Where tensors lie that the processes exchange."""
        return "cuda" if torch.cuda.is_available() else "cpu"

    def any(self, flag: bool) -> bool:
        """Whether the flag is set in any process."""
        if self.size == 1:
            return flag
        told = torch.tensor([float(flag)], device=self.device)
        dist.all_reduce(told)
        return bool(told.item())

    def wait(self) -> None:
        """Until all are here."""
        if self.size > 1:
            dist.barrier()


SINGLE_PROCESS = DistributedContext()


def world_size() -> int:
    """How many processes torchrun started; 1 without it."""
    return int(os.environ.get("WORLD_SIZE", "1"))


@contextmanager
def init_distributed(shard: bool = False) -> Iterator[DistributedContext]:
    """The world that torchrun's environment describes; alone without it."""
    size = world_size()
    if size == 1:
        yield SINGLE_PROCESS
        return
    if torch.cuda.is_available():
        grow_segments()
        torch.cuda.set_device(int(os.environ["LOCAL_RANK"]))
    dist.init_process_group("nccl" if torch.cuda.is_available() else "gloo")
    try:
        yield DistributedContext(dist.get_rank(), size, shard)
    except PacelineError:
        raise
    except (dist.DistError, RuntimeError) as error:
        if isinstance(error, dist.DistError) or "gloo" in str(error):
            reason = str(error).splitlines()[0]
            raise TrainingError(
                f"another process of this training has ended; its own message says why ({reason})"
            ) from error
        raise
    dist.destroy_process_group()  # not after an error: it may wait for processes that wait for this one


@contextmanager
def rank_local_folder(distributed: DistributedContext, folder: Path) -> Iterator[Path]:
    """Where a process writes: the first into the study's folder, others into a copy that is thrown away."""
    if distributed.rank == 0:
        distributed.wait()  # nothing is changed before it has been copied
        yield folder
        return
    with tempfile.TemporaryDirectory() as scratch:
        copy = Path(scratch) / folder.name
        if folder.is_dir():
            shutil.copytree(folder, copy)
        distributed.wait()
        yield copy

"""The allocator is spoken to where it is glibc's, and nowhere else."""

import ctypes
import platform

import pytest
import torch

from paceline.model.allocator import keep_freed_memory


def test_tensors_come_and_go_as_before() -> None:
    keep_freed_memory()
    keep_freed_memory()
    assert float(torch.ones(1000, 1000).sum()) == 1e6


def test_another_c_library_is_left_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(name: str | None) -> None:
        raise AssertionError("no library is opened")

    monkeypatch.setattr(platform, "libc_ver", lambda: ("musl", "1.2"))
    monkeypatch.setattr(ctypes, "CDLL", refuse)
    keep_freed_memory()

"""A CUDA device that is not there: tensors that claim `cuda:0` and hold their numbers in CPU memory.

What runs on them follows CUDA's rules where Python can see them: an op that mixes devices is an error with
its line, flash attention takes only what its kernel takes, and every launch, wait of the host for the device
and copy between the two is counted. Blind to kernels' own numerics, streams, real memory and NCCL.

Import this before torch: autograd must be told of the device before it asks. `python tests/cuda/emulation.py
ARGUMENTS` runs pytest so.
"""

from __future__ import annotations

import contextlib
import ctypes
import importlib.util
import subprocess
import sys
import tempfile
import time
import traceback
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from unittest import mock

HERE = Path(__file__).parent


def _tell_torch() -> None:
    """Builds and loads `one_device.cpp` (some seconds of g++)."""
    if "torch" in sys.modules:
        raise RuntimeError("the emulation must be imported before torch")
    spec = importlib.util.find_spec("torch")
    assert spec is not None
    assert spec.origin is not None
    torch_folder = Path(spec.origin).parent
    with tempfile.TemporaryDirectory() as scratch:
        library = Path(scratch) / "one_device.so"
        flags = ["-std=c++20", "-O0", "-fPIC", "-shared", f"-I{torch_folder / 'include'}"]
        link = [f"-L{torch_folder / 'lib'}", "-lc10", "-ltorch_cpu"]
        subprocess.run(["g++", *flags, HERE / "one_device.cpp", "-o", library, *link], check=True)
        for name in (torch_folder / "lib" / "libtorch_cpu.so", library):
            ctypes.CDLL(str(name), mode=ctypes.RTLD_GLOBAL)


_tell_torch()

import flash  # noqa: E402
import fused  # noqa: E402
import rms_norm  # noqa: E402
import torch  # noqa: E402
from torch import Tensor, nn  # noqa: E402
from torch.utils._mode_utils import no_dispatch  # noqa: E402
from torch.utils._python_dispatch import TorchDispatchMode  # noqa: E402
from torch.utils._pytree import tree_flatten, tree_map  # noqa: E402

# wrapped tensors and inference mode do not go together
torch.inference_mode = lambda mode=True: torch.no_grad()  # type: ignore[assignment, return-value]
DEVICE = torch.device("cuda", 0)
# Neither views (their schemas say so) nor kernels.
_NO_KERNEL = {
    *("_unsafe_view", "_reshape_alias", "detach", "lift_fresh", "is_same_size"),
    *("empty", "empty_like", "empty_strided", "new_empty", "new_empty_strided"),
}
# The host waits for their result, as its size or value decides what comes next.
_WAITING = {
    "_local_scalar_dense",
    "nonzero",
    "masked_select",
    "_unique2",
    "unique_dim",
    "equal",
    "is_nonzero",
}
_INDEXED = {"index", "index_put", "index_put_", "_index_put_impl_", "_unsafe_index"}


@dataclass
class Counts:
    """What a program asked of the device. `waits` and `uploads` are by kind and the line that caused them.

    `waits` are what `torch.cuda.set_sync_debug_mode` calls synchronizing: blocking copies among them.
    `kernels` are the launches, each with its op's name, the bytes that it reads and writes, its FLOPs if it
    is a product or attention (others have none to speak of), and for how many elements dropout is drawn.
    """

    launches: int = 0
    by_op: Counter[str] = field(default_factory=Counter)
    kernels: list[tuple[str, int, int, int]] = field(default_factory=list)
    waits: Counter[str] = field(default_factory=Counter)
    uploads: Counter[str] = field(default_factory=Counter)


_counting: list[Counts] = []
# Whether a fused function's plain form is under way: on a GPU it is one kernel.
_inside_kernel = [False]
# Whether what takes much arithmetic is counted only, and its results left blank.
_counts_only = [False]
# What `torch.cuda.set_sync_debug_mode` was last given.
_alarm = ["default"]


@contextlib.contextmanager
def counting() -> Iterator[Counts]:
    """Counts what happens inside."""
    counts = Counts()
    _counting.append(counts)
    try:
        yield counts
    finally:
        _counting.remove(counts)


def _note(kind: str, what: str) -> None:
    if kind == "waits" and _alarm[-1] == "error":
        raise RuntimeError(f"called a synchronizing CUDA operation: {what} at {line()}")
    for counts in _counting:
        getattr(counts, kind)[f"{what} at {line()}"] += 1


def _launched(name: str) -> None:
    if _inside_kernel[-1]:
        return
    for counts in _counting:
        counts.launches += 1
        counts.by_op[name] += 1


@contextlib.contextmanager
def without_numbers() -> Iterator[None]:
    """Products, attention and fused functions are counted, and their results left blank."""
    _counts_only.append(True)
    try:
        yield
    finally:
        _counts_only.pop()


def line() -> str:
    """The innermost line of Paceline under way, or of whatever else stands outside torch and this file."""
    own = ("emulation.py", "flash.py", "launch.py")
    frames = [f for f in traceback.extract_stack() if not f.filename.endswith(own)]
    frames = [f for f in frames if "/torch/" not in f.filename]
    ours = [frame for frame in frames if "/paceline/" in frame.filename] or frames[-1:]
    return f"{ours[-1].filename}:{ours[-1].lineno}: {ours[-1].line}" if ours else "autograd"


class DeviceTensor(torch.Tensor):
    """A tensor on the device; `host` holds its numbers."""

    host: Tensor

    @staticmethod
    def __new__(cls, host: Tensor, requires_grad: bool = False) -> DeviceTensor:
        made: DeviceTensor = torch.Tensor._make_wrapper_subclass(
            cls,
            host.size(),
            strides=host.stride(),
            storage_offset=host.storage_offset(),
            dtype=host.dtype,
            device=DEVICE,
            requires_grad=requires_grad,
        )
        made.host = host
        return made

    __torch_function__ = torch._C._disabled_torch_function_impl  # type: ignore[assignment]

    def __repr__(self, *, tensor_contents: Any = None) -> str:  # type: ignore[override]
        return f"DeviceTensor({self.host})"

    def untyped_storage(self) -> Any:
        return self.host.untyped_storage()

    def data_ptr(self) -> int:
        return self.host.data_ptr()

    def tolist(self) -> Any:
        _note("waits", "tolist")
        return self.host.tolist()

    @classmethod
    def __torch_dispatch__(  # type: ignore[override]
        cls, func: Any, types: Any, args: Any = (), kwargs: Any = None
    ) -> Any:
        return _run(func, args, kwargs or {})


class _Factories(TorchDispatchMode):
    """Sees what has no tensor on the device among its arguments: factories, copies of CPU tensors."""

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        if _is_device(kwargs.get("device")) or any(
            isinstance(t, DeviceTensor) for t in _tensors(args, kwargs)
        ):
            return _run(func, args, kwargs)
        return func(*args, **kwargs)


def _is_device(device: Any) -> bool:
    return device is not None and torch.device(device).type == "cuda"


def _tensors(args: Any, kwargs: Any) -> list[Tensor]:
    return [leaf for leaf in tree_flatten((args, kwargs))[0] if isinstance(leaf, Tensor)]


def _run(func: Any, args: Any, kwargs: dict[str, Any]) -> Any:
    """Runs an op on the numbers behind its tensors, after checking and counting it."""
    name = func._schema.name.split("::")[1]
    here, there = [], []
    for tensor in _tensors(args, kwargs):
        (here if isinstance(tensor, DeviceTensor) else there).append(tensor)
    own_args, own_kwargs = tree_map(lambda a: a.host if isinstance(a, DeviceTensor) else a, (args, kwargs))
    if name == "_to_copy" or name == "copy_":
        copied = _copy(func, name, args, kwargs, own_args, own_kwargs)
        if copied is not NotImplemented:
            return copied
    elif here and there:
        _check_mixed(name, here, there)
    launched = _count(func, name, args)
    if _is_device(own_kwargs.get("device")):
        own_kwargs = {**own_kwargs, "device": torch.device("cpu")}
    kernel = {
        "_varlen_attn": flash.forward,
        "_varlen_attn_backward": flash.backward,
        "_fused_rms_norm": rms_norm.forward,
        "_fused_rms_norm_backward": rms_norm.backward,
    }.get(name, _wide_product if func is torch.ops.aten.mm.dtype else func)
    out = _blank(name, own_args, own_kwargs) if _counts_only[-1] else NotImplemented
    out = kernel(*own_args, **own_kwargs) if out is NotImplemented else out
    if name == "_local_scalar_dense":
        return out
    if launched:
        _measure(name, own_args, own_kwargs, out)
    if torch.Tag.inplace_view in func.tags:  # gives the tensor itself another shape, too
        with no_dispatch():
            before = torch._C._meta_in_tls_dispatch_include()
            torch._C._set_meta_in_tls_dispatch_include(True)
            try:
                func(*args, **kwargs)
            finally:
                torch._C._set_meta_in_tls_dispatch_include(before)
        return args[0]
    known = {id(tensor.host): tensor for tensor in here}
    return tree_map(lambda t: _wrapped(t, known), out)


def _blank(name: str, args: Any, kwargs: dict[str, Any]) -> Any:
    """What an op of much arithmetic returns, not filled; NotImplemented for others."""
    if name in ("mm", "addmm"):
        left, right = args[-3:-1] if len(args) == 3 and name == "mm" else args[-2:]
        wide = args[2] if len(args) == 3 and name == "mm" else kwargs.get("out_dtype", left.dtype)
        return left.new_empty(left.shape[0], right.shape[1], dtype=wide)
    if name == "addmm_":
        return args[0]
    if name == "_varlen_attn":
        query = args[0]
        sums = query.new_zeros(query.shape[1], query.shape[0], dtype=torch.float32)
        return torch.empty_like(query), sums, torch.zeros(2, dtype=torch.uint64)
    if name == "_varlen_attn_backward":
        return tuple(torch.empty_like(tensor) for tensor in args[1:4])
    return NotImplemented


def _wide_product(left: Tensor, right: Tensor, dtype: torch.dtype) -> Tensor:
    """`torch.mm(..., out_dtype=)`, which a CPU has not."""
    return left.to(dtype) @ right.to(dtype)


def _wrapped(value: Any, known: dict[int, Tensor]) -> Any:
    """A result on the device; what an op works on in place stays the tensor that it was."""
    if not isinstance(value, Tensor):
        return value
    return known[id(value)] if id(value) in known else DeviceTensor(value)


def _copy(func: Any, name: str, args: Any, kwargs: Any, own_args: Any, own_kwargs: Any) -> Any:
    """A copy between host and device; NotImplemented where both ends are the same."""
    if name == "_to_copy":
        source = isinstance(args[0], DeviceTensor)
        target = _is_device(kwargs["device"]) if kwargs.get("device") is not None else source
        later, pinned = bool(kwargs.get("non_blocking")), is_pinned(args[0])
    else:
        target, source = isinstance(args[0], DeviceTensor), isinstance(args[1], DeviceTensor)
        later, pinned = len(args) > 2 and bool(args[2]), is_pinned(args[1])
    if source == target:
        return NotImplemented
    if target and later and pinned:
        _note("uploads", "pinned upload")
    else:
        _note("waits", "copy to the device" if target else "copy to the host")
        if target:
            _note("uploads", "blocking upload")
    if own_kwargs.get("device") is not None:
        own_kwargs = {**own_kwargs, "device": torch.device("cpu")}
    out = func(*own_args, **own_kwargs)
    if name == "copy_":
        return args[0]
    # a copy, as across a bus: nobody may see what is written into the other side later
    out = out.clone() if out.untyped_storage()._cdata == own_args[0].untyped_storage()._cdata else out
    return DeviceTensor(out) if target else out


def _check_mixed(name: str, here: list[Tensor], there: list[Tensor]) -> None:
    """Tensors of one op lie on one device; what CUDA moves by itself costs a wait."""
    if name in _INDEXED:
        _note("waits", f"{name} with an index on the host")
    elif name.startswith("_fused_adam") or any(tensor.dim() > 0 for tensor in there):
        shapes = [(tuple(tensor.shape), str(tensor.device)) for tensor in [*here, *there]]
        raise RuntimeError(f"{name}: tensors on several devices, {shapes}, at {line()}")


def _count(func: Any, name: str, args: Any) -> bool:
    """Notes what the op asks for; whether it launches a kernel."""
    boolean = name in _INDEXED and any(
        t is not None and t.dtype in (torch.bool, torch.uint8) for t in args[1]
    )
    if name in _WAITING or boolean:
        _note("waits", name)
    returned = [one.alias_info for one in func._schema.returns]
    view = any(alias is not None and not alias.is_write for alias in returned)
    view = view or torch.Tag.inplace_view in func.tags
    launched = not view and name not in _NO_KERNEL and name != "_local_scalar_dense"
    if launched:
        _launched(name)
    return launched


def _measure(name: str, args: Any, kwargs: Any, out: Any) -> None:
    """Notes the bytes of an op's operands and results, each once, and its FLOPs."""
    if not _counting:
        return
    read, written = _tensors(args, kwargs), _tensors((out,), {})
    moved = sum(t.numel() * t.element_size() for t in [*{id(t): t for t in read}.values(), *written])
    flops = 0
    if name in ("mm", "addmm", "addmm_", "bmm"):
        left, right = read[-2:] if name != "mm" or len(read) == 2 else read[:2]
        flops = 2 * left.numel() * right.shape[-1]
    elif name.startswith("_varlen_attn"):
        query = read[1] if "backward" in name else read[0]
        bounds = next(t for t in read if t.dtype == torch.int32)
        pairs = int((bounds.diff().long() ** 2).sum()) // 2
        flops = int(4 * pairs * query.shape[1] * query.shape[2] * (2.5 if "backward" in name else 1))
    _note_kernel(name, moved, flops)


def _note_kernel(name: str, moved: int, flops: int, draws: int = 0) -> None:
    for counts in [] if _inside_kernel[-1] else _counting:
        counts.kernels.append((name, moved, flops, draws))


def run_fused(module: str, plain: Any, args: tuple[Any, ...]) -> Any:
    """Runs a fused function in its plain form, and counts what its kernels ask for."""
    name = plain.__name__
    _inside_kernel.append(True)
    try:
        out = fused.blank(name, args) if _counts_only[-1] else plain(*args)
    finally:
        _inside_kernel.pop()
    for kernel in fused.kernels(name, args, out):
        _launched(kernel[0])
        _note_kernel(*kernel)
    return out


_pinned: set[int] = set()


def is_pinned(tensor: Tensor) -> bool:
    """Whether a CPU tensor was made by `pin_memory`."""
    return not isinstance(tensor, DeviceTensor) and tensor.untyped_storage()._cdata in _pinned


def _pin(tensor: Tensor) -> Tensor:
    pinned = tensor.clone()
    _pinned.add(pinned.untyped_storage()._cdata)
    return pinned


class _Event:
    """`torch.cuda.Event` by the host's clock, on which everything has happened already."""

    def __init__(self, enable_timing: bool = False) -> None:
        self._at = 0.0

    def record(self) -> None:
        self._at = time.perf_counter()

    def query(self) -> bool:
        return True

    def elapsed_time(self, other: _Event) -> float:
        return (other._at - self._at) * 1e3


@dataclass
class Card:
    """What the card says of itself. Bytes."""

    capability: tuple[int, int] = (9, 0)
    total: int = 80 * 2**30
    free: int = 70 * 2**30
    peak: int = 2**30
    emptied: int = 0

    def empty_cache(self) -> None:
        self.emptied += 1


@contextlib.contextmanager
def emulated_cuda() -> Iterator[Card]:
    """A CUDA device, for the time of the context."""
    card, make = Card(), torch.tensor

    def tensor(data: Any, device: Any = None, **kwargs: Any) -> Tensor:
        made = make(data, **kwargs)  # below every dispatch mode it copies to the device by itself
        return made if device is None else made.to(device)

    def synchronize(device: Any = None) -> None:
        _note("waits", "torch.cuda.synchronize")

    properties = mock.Mock(total_memory=card.total)
    properties.name = "Emulated"
    functions: dict[str, Any] = {
        "is_available": lambda: True,
        "_lazy_init": lambda: None,
        "device_count": lambda: 1,
        "current_device": lambda: 0,
        "get_device_capability": lambda device=None: card.capability,
        "get_device_properties": lambda device=None: properties,
        "mem_get_info": lambda device=None: (card.free, card.total),
        "memory_reserved": lambda device=None: 0,
        "memory_allocated": lambda device=None: 0,
        "max_memory_allocated": lambda device=None: card.peak,
        "reset_peak_memory_stats": lambda device=None: None,
        "synchronize": synchronize,
        "empty_cache": card.empty_cache,
        "set_sync_debug_mode": _alarm.append,
        "Event": _Event,
    }
    with contextlib.ExitStack() as stack:
        for name, function in functions.items():
            stack.enter_context(mock.patch.object(torch.cuda, name, function))
        stack.enter_context(mock.patch.object(torch, "tensor", tensor))
        stack.enter_context(mock.patch("paceline.kernels.launch.run", run_fused))
        stack.enter_context(mock.patch.object(torch.Tensor, "pin_memory", _pin))
        stack.enter_context(_loading())
        stack.enter_context(_Factories())  # type: ignore[no-untyped-call]
        yield card


@contextlib.contextmanager
def _loading() -> Iterator[None]:
    """transformers loads to the CPU what it is asked to load to the device; then it is moved."""
    from transformers import AutoModelForCausalLM

    load = AutoModelForCausalLM.from_pretrained

    def from_pretrained(name: str, device_map: Any = None, **kwargs: Any) -> Any:
        with torch.utils._python_dispatch._disable_current_modes():
            model = load(name, device_map={"": torch.device("cpu")}, **kwargs)
        return to_device(model) if _is_device((device_map or {}).get("")) else model

    with mock.patch.object(AutoModelForCausalLM, "from_pretrained", from_pretrained):
        yield


def to_device(model: Any) -> Any:
    """Moves a model's weights; those that are one stay one."""
    moved: dict[int, nn.Parameter] = {}
    for module in model.modules():
        for name, parameter in module._parameters.items():
            if parameter is not None:
                if id(parameter) not in moved:
                    moved[id(parameter)] = _moved(parameter)
                module._parameters[name] = moved[id(parameter)]
        for name, buffer in module._buffers.items():
            if buffer is not None:
                module._buffers[name] = DeviceTensor(buffer)
    return model


def _moved(parameter: nn.Parameter) -> nn.Parameter:
    made = nn.Parameter(DeviceTensor(parameter.detach()), requires_grad=False)
    if (state := getattr(parameter, "quant_state", None)) is not None:  # bitsandbytes' 4-bit weights
        made.__class__ = type(type(parameter).__name__, (type(made),), {})
        made.quant_state = _on_device(state)
    return made


def _on_device(state: Any) -> Any:
    for name, value in vars(state).items():
        if isinstance(value, Tensor):
            setattr(state, name, DeviceTensor(value))
        elif type(value) is type(state):
            _on_device(value)
    return state


if __name__ == "__main__":
    import pytest

    sys.modules["emulation"] = sys.modules["__main__"]
    sys.exit(pytest.main(sys.argv[1:]))

"""A limit on the time that other people's code may take within a call, in whatever thread it runs."""

import ctypes
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress


class TooSlow(Exception):  # noqa: N818 - raised by the watch within the call, and caught around it
    """The call did not end in time."""


@contextmanager
def time_limit(seconds: float) -> Iterator[None]:
    """Raises TooSlow within the block where it takes longer, to about a tenth of a second.

    It interrupts Python code, such as a template's loops, not a single call of a C function. A block costs a
    few microseconds: one thread watches all of them.
    """
    call = _Call(threading.get_ident(), time.monotonic() + seconds)
    _watch(call)
    try:
        yield
    finally:
        with suppress(TooSlow):  # it may be on its way while the block ends
            with _lock:
                _calls.discard(call)
            if call.told:
                for _ in range(100):
                    time.sleep(0.001)


class _Call:
    def __init__(self, thread: int, deadline: float) -> None:
        self.thread, self.deadline, self.told = thread, deadline, False


_lock = threading.Lock()
_calls: set[_Call] = set()
_watcher = threading.Thread()


def _watch(call: _Call) -> None:
    global _watcher
    with _lock:
        _calls.add(call)
        if not _watcher.is_alive():  # never started, or lost in a fork
            _watcher = threading.Thread(target=_tell_late_ones, daemon=True)
            _watcher.start()


def _tell_late_ones() -> None:
    while True:
        time.sleep(0.1)
        now = time.monotonic()
        with _lock:
            for call in _calls:
                if now > call.deadline and not call.told:
                    call.told = True
                    ctypes.pythonapi.PyThreadState_SetAsyncExc(
                        ctypes.c_ulong(call.thread), ctypes.py_object(TooSlow)
                    )

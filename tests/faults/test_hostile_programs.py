"""Forty hostile programs. None holds more than its limit, and none reaches what is not its own.

A program that takes memory prints a byte for each piece that it holds and does not give back, so what it held
is counted by itself, not by the watcher that is under test.
"""

from typing import Any

import pytest

from paceline.evaluate.sandbox.limits import Limits
from paceline.evaluate.sandbox.sandbox import open_sandbox

pytestmark = pytest.mark.sandbox

MIB = 2**20
LIMITS = Limits(seconds=4, memory=256 * MIB, processes=24, output=20_000, files=64 * MIB)
# What may be held between two looks of the watcher, on a machine that is busy with other tests.
BETWEEN_LOOKS = 128
PIECE = 2
PRELUDE = f"""
import ctypes, mmap, os, sys, threading, time
PIECE = {PIECE} << 20
libc = ctypes.CDLL(None, use_errno=True)
libc.mmap.restype = ctypes.c_void_p
libc.mmap.argtypes = [ctypes.c_void_p, ctypes.c_size_t] + [ctypes.c_int] * 3 + [ctypes.c_long]
held = []
def holds(): os.write(1, bytes([1]))
def touch(area):
    for at in range(0, PIECE, 4096): area[at] = 1
    held.append(area); holds()
def private(): touch(mmap.mmap(-1, PIECE, mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS))
def for_ever(take):
    refused = 0
    while refused < 20:
        try: take(); refused = 0
        except (OSError, MemoryError, ValueError): refused += 1; time.sleep(0.005)
def write(file): file.write(bytes([1]) * PIECE); file.flush(); holds()
def children(count):
    for _ in range(count):
        try:
            if os.fork() == 0: return
        except OSError: pass
    time.sleep(1)
    os._exit(0)
"""
# Each takes what it can. Where resident memory alone was looked at, ten of them held 1 to 15 GiB.
TAKES = {
    "private pages": "for_ever(private)",
    "a heap": "for_ever(lambda: (held.append(bytes([1]) * PIECE), holds()))",
    "twenty processes, each below the limit": "children(20)\nfor _ in range(40): private()\ntime.sleep(1)",
    "processes that start more": "os.fork(); os.fork(); os.fork(); os.fork()\nfor_ever(private)",
    "a fork bomb with memory": "def more():\n    private(); os.fork()\nfor_ever(more)",
    "sessions of their own": "children(20)\ntry: os.setsid()\nexcept OSError: pass\nfor_ever(private)",
    "children whose parents end": "for _ in range(20):\n    if os.fork() == 0:\n        if os.fork() == 0: for_ever(private)\n        os._exit(0)\ntime.sleep(1)",
    "threads whose first has ended": "children(10)\nfor _ in range(4): threading.Thread(target=for_ever, args=(private,), daemon=False).start()\nlibc.syscall(60, 0)",
    "forty threads": "for _ in range(40): threading.Thread(target=for_ever, args=(private,)).start()",
    "the break": "libc.sbrk.restype = ctypes.c_void_p\nchildren(20)\ndef take():\n    at = libc.sbrk(PIECE)\n    if at == 2**64 - 1: raise OSError\n    ctypes.memset(at, 1, PIECE); holds()\nfor_ever(take)",
    "sparse pages": "children(20)\narea = mmap.mmap(-1, 200 << 20, mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)\nfor at in range(0, 200 << 20, 4096):\n    area[at] = 1\n    if at % PIECE == 0: holds()",
    "shared pages": "for_ever(lambda: touch(mmap.mmap(-1, PIECE)))",
    "shared pages that leave the resident set": "def take():\n    area = mmap.mmap(-1, PIECE); touch(area); area.madvise(mmap.MADV_DONTNEED)\nfor_ever(take)",
    "shared zeros": "zero = os.open('/dev/zero', os.O_RDWR)\nfor_ever(lambda: touch(mmap.mmap(zero, PIECE)))",
    "locked pages": "children(20)\nlibc.mlockall(7)\nfor_ever(private)",
    "memfd": "fd = os.memfd_create('x')\nfor_ever(lambda: write(open(fd, 'wb', closefd=False)))",
    "many memfds": "def take():\n    held.append(os.memfd_create('x')); write(open(held[-1], 'wb', closefd=False))\nfor_ever(take)",
    "memfd without Python": "def take():\n    fd = libc.syscall(319, b'x', 0)\n    write(open(fd, 'wb', closefd=False))\nfor_ever(take)",
    "secret memory": "def take():\n    fd = libc.syscall(447, 0)\n    os.ftruncate(fd, PIECE); touch(mmap.mmap(fd, PIECE))\nfor_ever(take)",
    "System V segments": "libc.shmat.restype = ctypes.c_void_p\ndef take():\n    number = libc.shmget(0, PIECE, 0o1600)\n    if number < 0: raise OSError\n    at = libc.shmat(number, None, 0); ctypes.memset(at, 1, PIECE); libc.shmdt(ctypes.c_void_p(at)); holds()\nfor_ever(take)",
    "message queues": "n = [0]\ndef take():\n    number = libc.msgget(0, 0o1600)\n    if number < 0: raise OSError\n    while libc.msgsnd(number, bytes([1]) * 8008, 8000, 0o4000) == 0: n[0] += 8000\n    if n[0] > PIECE: n[0] -= PIECE; holds()\nfor_ever(take)",
    "sockets full of bytes": "import socket\nchildren(20)\nn = [0]\ndef take():\n    pair = socket.socketpair(); held.append(pair); pair[0].setblocking(False)\n    try:\n        while True:\n            n[0] += pair[0].send(bytes(65536))\n            if n[0] > PIECE: n[0] -= PIECE; holds()\n    except BlockingIOError: pass\nfor_ever(take)",
    "loopback full of bytes": "import socket\ndef take():\n    a = socket.create_server(('127.0.0.1', 0)); b = socket.create_connection(a.getsockname()); c = a.accept()\n    held.append((a, b, c)); b.setblocking(False)\n    try:\n        while b.send(bytes(PIECE)): holds()\n    except BlockingIOError: pass\nfor_ever(take)",
    "pipes full of bytes": "import fcntl\nchildren(20)\nn = [0]\ndef take():\n    pair = os.pipe(); held.append(pair); os.set_blocking(pair[1], False)\n    try: fcntl.fcntl(pair[1], 1031, 1 << 20)\n    except OSError: pass\n    try:\n        while True:\n            n[0] += os.write(pair[1], bytes(4096))\n            if n[0] >= PIECE: n[0] -= PIECE; holds()\n    except BlockingIOError: pass\nfor_ever(take)",
    "pages given to a pipe": "def take():\n    pair = os.pipe(); held.append(pair); area = mmap.mmap(-1, PIECE, mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)\n    area[:] = bytes([1]) * PIECE\n    at = (ctypes.c_size_t * 2)(ctypes.addressof(ctypes.c_char.from_buffer(area)), 4096)\n    if libc.vmsplice(pair[1], at, 1, 0) < 0: raise OSError\n    holds()\nfor_ever(take)",
    "files in /dev/shm": "for_ever(lambda: write(open(f'/dev/shm/{time.time()}', 'wb')))",
    "files in /tmp": "for_ever(lambda: write(open(f'/tmp/{time.time()}', 'wb')))",
    "files in /, /dev and elsewhere": "for place in ('/', '/dev', '/proc', '/run', '/usr', '/given', '/var', '/mnt'):\n    try:\n        while True: write(open(f'{place}/{time.time()}', 'wb'))\n    except OSError: pass\ntime.sleep(1)",
    "files in three folders, and pages": "for place in ('/work', '/tmp', '/dev/shm'):\n    try:\n        while True: write(open(f'{place}/{time.time()}', 'wb'))\n    except OSError: pass\nfor_ever(private)",
    "files that are open and have no name": "def take():\n    for place in ('/work', '/tmp', '/dev/shm'):\n        held.append(open(f'{place}/x', 'wb')); os.unlink(f'{place}/x'); write(held[-1])\nfor_ever(take)",
    "a shared map of a file": "file = open('x', 'w+b'); file.truncate(32 << 20)\nfor at in range(0, 32 << 20, PIECE): touch(mmap.mmap(file.fileno(), PIECE, offset=at))\nfor_ever(private)",
    "millions of empty files": "n = 0\nwhile True:\n    try: os.close(os.open(f'/tmp/{n}', os.O_CREAT | os.O_WRONLY))\n    except OSError: break\n    n += 1\n    if n % 2048 == 0: holds()",
    "a file system of its own": "libc.unshare(0x10020000)\nlibc.mount(b'x', b'/tmp', b'tmpfs', 0, b'size=4g')\nfor_ever(lambda: write(open(f'/tmp/{time.time()}', 'wb')))",
}
# Each asks for what is refused, and prints "reached" if it is given.
ASKS = {
    "io_uring": "print('reached' if libc.syscall(425, 8, bytes(120)) >= 0 else 'refused')",
    "a user namespace by unshare": "print('reached' if libc.unshare(0x10000000) == 0 else 'refused')",
    "a user namespace by clone": "print('reached' if libc.syscall(56, 0x10000011, 0, 0, 0, 0) >= 0 else 'refused')",
    "a user namespace by clone3": "a = (ctypes.c_uint64 * 8)(0x10000000, 0, 0, 0, 17)\nprint('reached' if libc.syscall(435, a, 64) >= 0 else 'refused')",
    "a trace of its parent": "print('reached' if libc.ptrace(16, os.getppid(), 0, 0) == 0 or libc.ptrace(0, 0, 0, 0) == 0 else 'refused')",
    "bpf": "print('reached' if libc.syscall(321, 0, bytes(120), 120) >= 0 else 'refused')",
    "keyrings": "print('reached' if libc.syscall(250, 0, -3, 1) >= 0 else 'refused')",
    "userfaultfd": "print('reached' if libc.syscall(323, 1) >= 0 else 'refused')",
    "performance counters": "print('reached' if libc.syscall(298, (ctypes.c_uint32 * 32)(1, 128), 0, -1, -1, 0) >= 0 else 'refused')",
    "a new mount": "print('reached' if libc.syscall(430, b'tmpfs', 0) >= 0 else 'refused')",
}


@pytest.fixture(scope="module")
def box() -> Any:
    return open_sandbox(limits=LIMITS)


def run(box: Any, code: str) -> Any:
    return box.run(["/usr/bin/python3", "-I", "hostile.py"], {"hostile.py": PRELUDE + code})


@pytest.mark.parametrize("name", TAKES)
def test_no_program_holds_more_than_its_limit(box: Any, name: str) -> None:
    result = run(box, TAKES[name])
    held = PIECE * result.output.count("\x01")
    assert held <= LIMITS.memory // MIB + BETWEEN_LOOKS


@pytest.mark.parametrize("name", ASKS)
def test_no_program_is_given_a_way_into_the_kernel(box: Any, name: str) -> None:
    assert run(box, ASKS[name]).output == "refused\n"

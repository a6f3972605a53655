"""Programs that would never end, or pry, are contained within their limits; honest ones run.

tests/faults/test_hostile_programs.py has those that take memory.
"""

import os
import pty
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from paceline.errors import PacelineError
from paceline.evaluate.sandbox import sandbox as sandbox_module
from paceline.evaluate.sandbox.limits import Limits, Result
from paceline.evaluate.sandbox.sandbox import Sandbox, open_sandbox

pytestmark = pytest.mark.sandbox

SMALL = Limits(seconds=4, memory=256 * 2**20, processes=24, output=20_000, files=16 * 2**20)
SECRET = "paceline-secret-3141"


@pytest.fixture(scope="module")
def box() -> Any:
    return open_sandbox(limits=SMALL)


def python(box: Any, code: Any) -> Any:
    return box.run(["/usr/bin/python3", "-I", "p.py"], {"p.py": code})


def test_an_honest_program_runs(box: Any) -> None:
    result = box.run(
        ["/usr/bin/python3", "p.py"],
        {
            "p.py": "import sys; print(int(input()) + 1, flush=True); print(open('d/x').read(), file=sys.stderr)",
            "d/x": "beside",
        },
        "41\n",
    )
    assert (result.ok, result.output) == (True, "42\nbeside\n")


def test_its_exit_code_is_told(box: Any) -> None:
    result = python(box, "raise SystemExit(3)")
    assert (result.status, result.ok, result.ended) == (3, False, None)


HOSTILE = {
    "fork bomb": "import os\nwhile True:\n    try: os.fork()\n    except OSError: pass",
    "processes that sleep": "import os, time\nfor _ in range(500):\n    if os.fork() == 0: time.sleep(60); os._exit(0)\ntime.sleep(60)",
    "a hundred gigabytes": "x = bytearray(100 * 2**30)\nfor i in range(0, len(x), 4096): x[i] = 1",
    "memory bit by bit": "x = []\nwhile True: x.append(bytearray(2**20))",
    "endless output": "while True: print('x' * 1000)",
    "endless loop": "while True: pass",
    "sleeps for ever": "import time\ntime.sleep(10**6)",
    "ignores signals": "import signal, time\nfor s in range(1, 64):\n    try: signal.signal(s, signal.SIG_IGN)\n    except (OSError, ValueError): pass\nwhile True: time.sleep(1)",
    "a child that outlives": "import os, time\nif os.fork() == 0:\n    os.setpgid(0, 0)\n    while True: time.sleep(1)",
    "fills the disk": "f = open('big', 'wb')\nwhile True: f.write(b'x' * 2**20); f.flush()",
    "fills the disk with files": "i = 0\nwhile True:\n    open(f'f{i}', 'wb').write(b'x' * 2**20); i += 1",
}
NOSY = {
    "home": "import os; print(os.listdir('/root'))",
    "other homes": "import os; print(os.listdir('/home'))",
    "environment": "import os; print(dict(os.environ)); print(open('/proc/1/environ').read())",
    "password file": "print(open('/etc/shadow').read(), open('/etc/passwd').read())",
    "network": "import socket; s = socket.create_connection(('1.1.1.1', 53), 2); print('rea' + 'ched')",
    "loopback": "import socket; s = socket.create_connection(('127.0.0.1', PORT), 2); print('rea' + 'ched')",
    "writes outside": "open('/usr/paceline-was-here', 'w').write('x'); print('rea' + 'ched')",
    "writes to what it was given": "open('/given/x', 'w').write('x'); print('rea' + 'ched')",
    "symlink out": "import os; os.symlink('/root', 'out'); print(os.listdir('out'))",
    "other processes": "import os; n = len([p for p in os.listdir('/proc') if p.isdigit()]); print('rea' + 'ched' if n > 6 else 'few')",
    "ptrace": "import ctypes; print('rea' + 'ched' if ctypes.CDLL(None).ptrace(16, PID, 0, 0) == 0 else 'refused')",
    "mounts": "import subprocess; print('rea' + 'ched' if subprocess.run(['mount', '-t', 'tmpfs', 'x', '/usr']).returncode == 0 else 'refused')",
    "kills the host": "import os\nfor p in range(2, 40000):\n    try: os.kill(p, 9)\n    except OSError: pass\nprint('done')",
}


@pytest.mark.parametrize("name", HOSTILE)
def test_what_would_never_end_is_ended(box: Any, name: str) -> None:
    began = time.monotonic()
    result = python(box, HOSTILE[name])
    assert time.monotonic() - began < SMALL.seconds + 2
    assert not result.ok or name == "a child that outlives"
    assert len(result.output) <= SMALL.output
    for _ in range(50):  # the kernel takes its time to bury a whole namespace
        left = [p for p in Path("/proc").glob("[0-9]*/cmdline") if b"\0p.py\0" in _read(p)]
        if not left:
            return
        time.sleep(0.1)
    raise AssertionError(f"processes are left on the host: {left}")


def _read(path: Any) -> Any:
    try:
        return path.read_bytes()
    except OSError:
        return b""


FILL = """
import os
total = 0
for folder in FOLDERS:
    for number in range(200):
        try:
            with open(f"{folder}/fill{number}", "wb") as file:
                for _ in range(16):
                    total += os.write(file.fileno(), bytes(2**20))
        except OSError as error:
            break
print("written", total // 2**20)
"""
MOUNT = """
import ctypes, os
libc = ctypes.CDLL(None, use_errno=True)
if libc.unshare(0x10000000 | 0x00020000) != 0:
    raise SystemExit("refused")
libc.mount(b"x", b"/tmp", b"tmpfs", 0, b"size=4g")
""" + FILL.replace("FOLDERS", "['/tmp']")


@pytest.mark.parametrize(
    ("folders", "most"),
    [
        (["/dev/shm"], 16),
        (["/"], 0),
        (["/dev"], 0),
        (["/", "/dev", "/dev/shm", "/tmp", "/work", "/proc", "/run"], 48),
    ],
)
def test_no_folder_in_memory_holds_more_than_the_limit(box: Any, folders: Any, most: int) -> None:
    result = python(box, FILL.replace("FOLDERS", repr(folders)))
    written = int(result.output.split("written")[1])
    assert most - 3 <= written <= most


def test_no_user_namespace_inside_brings_a_mount_without_size(box: Any) -> None:
    assert python(box, MOUNT).output == "refused\n"


def test_a_burst_of_memory_ends_by_itself(box: Any) -> None:
    assert "MemoryError" in python(box, "x = bytearray(5 * 256 * 2**20)").output


def test_a_program_that_is_told_a_secret_sees_no_process_and_no_file(box: Any, tmp_path: Path) -> None:
    code = tmp_path / "program"
    code.write_bytes(Path("/bin/sh").read_bytes())
    code.chmod(0o111)
    tmp_path.chmod(0o755)
    for parent in tmp_path.parents[:3]:
        parent.chmod(0o755)
    result = box.run(
        [str(code), "-c", "read key; echo $key; echo /proc/* /given/* /usr/bin/* /work/*"],
        {},
        "k\n",
        program=code,
    )
    assert result.output == "k\n/proc/* /given/* /usr/bin/* /work/*\n"


@pytest.mark.parametrize("name", NOSY)
def test_what_pries_finds_nothing(box: Any, name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    import socket

    monkeypatch.setenv("OPENAI_API_KEY", SECRET)
    with socket.create_server(("127.0.0.1", 0)) as server:
        code = NOSY[name].replace("PORT", str(server.getsockname()[1])).replace("PID", str(os.getpid()))
        result = python(box, code)
    assert "reached" not in result.output
    assert SECRET not in result.output
    assert "root:" not in result.output
    assert (
        name in ("environment", "other processes", "ptrace", "mounts", "kills the host") or result.status != 0
    )
    assert not Path("/usr/paceline-was-here").exists()


IN_A_TERMINAL = """
from paceline.evaluate.sandbox.sandbox import open_sandbox
code = "open('/dev/tty', 'w').write('rea' + 'ched')"
print("status", open_sandbox().run(["/usr/bin/python3", "-c", code], {}).status)
"""


def test_no_program_writes_to_our_terminal() -> None:
    process, terminal = pty.fork()
    if process == 0:
        os.execv(sys.executable, [sys.executable, "-c", IN_A_TERMINAL])
    shown = b""
    try:
        while piece := os.read(terminal, 4096):
            shown += piece
    except OSError:  # it has ended
        pass
    os.close(terminal)
    os.waitpid(process, 0)
    assert b"status 0" in shown
    assert b"reached" not in shown


def test_no_program_has_a_share_of_the_cores_beside_ours(box: Any) -> None:
    """A session's share (autogroup) would keep what watches a program from running, whatever its priority."""
    share = Path("/proc/self/autogroup")
    inside = python(box, "import os; p = '/proc/self/autogroup'; os.path.exists(p) and print(open(p).read())")
    assert inside.output.strip() == (share.read_text().strip() if share.exists() else "")


def test_without_bubblewrap_it_refuses_unless_accepted(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sandbox_module.shutil, "which", lambda name: None)
    with pytest.raises(PacelineError, match=r"bubblewrap is not installed .*--i-accept-unsandboxed"):
        open_sandbox()
    accepted = open_sandbox(limits=SMALL, accept_unsandboxed=True)
    assert accepted.run(["/usr/bin/python3", "-c", "print(1)"], {}).output == "1\n"
    assert accepted.run(["/usr/bin/python3", "-c", "while True: pass"], {}).ended == "time"


def test_where_the_kernel_forbids_it_it_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    refused = Result(1, "bwrap: No permissions to create new namespace\n", 0.0, None)
    monkeypatch.setattr(Sandbox, "run", lambda *_, **__: refused)
    with pytest.raises(
        PacelineError, match="No permissions to create new namespace; the kernel may forbid user namespaces"
    ):
        open_sandbox()

"""The command line in processes of its own that need not import torch each: forked from one that has."""

import multiprocessing
import os
import runpy
import signal
import sys
import tempfile
from pathlib import Path
from subprocess import CompletedProcess
from typing import Any

WARM = multiprocessing.get_context("forkserver")
WARM.set_forkserver_preload(
    [
        "torch",
        "transformers",
        "datasets",
        "paceline.cli.main",
        "paceline.training.study",
        "paceline.evaluate.study",
    ]
)


class WarmProcess:
    """`paceline ARGUMENTS`, or a Python script, under way in a folder; has what its callers need of Popen.

    The terminal's width is the caller's COLUMNS: the server that is forked from may have begun with another.
    """

    def __init__(self, *arguments: Any, cwd: Path, stdin: str = "", script: bool = False) -> None:
        self._scratch = tempfile.TemporaryDirectory()
        self._files = [Path(self._scratch.name) / name for name in ("in", "out", "err")]
        self._files[0].write_text(stdin)
        given, files = [str(argument) for argument in arguments], list(map(str, self._files))
        self._process = WARM.Process(
            target=run_main, args=(given, str(cwd), files, os.environ.get("COLUMNS", ""), script)
        )
        self._process.start()
        self.pid = self._process.pid

    @property
    def returncode(self) -> int | None:
        return self._process.exitcode

    def poll(self) -> int | None:
        return self._process.exitcode

    def kill(self) -> None:
        self._process.kill()

    def send_signal(self, signum: int) -> None:
        if self.pid is not None and self._process.is_alive():
            os.kill(self.pid, signum)

    def communicate(self, timeout: float | None = None) -> tuple[str, str]:
        """(what it wrote, its errors), once it has ended."""
        self._process.join(timeout)
        if self._process.exitcode is None:
            raise TimeoutError(f"still running after {timeout} s")
        return self._files[1].read_text(), self._files[2].read_text()


def run_warm(*arguments: Any, cwd: Path, stdin: str = "", script: bool = False) -> CompletedProcess[str]:
    """Runs `paceline ARGUMENTS`, or a Python script, to its end."""
    process = WarmProcess(*arguments, cwd=cwd, stdin=stdin, script=script)
    out, errors = process.communicate()
    assert process.returncode is not None
    return CompletedProcess(list(arguments), process.returncode, out, errors)


def run_main(
    arguments: list[str], cwd: str, files: list[str], columns: str = "", script: bool = False
) -> None:
    """The command line, or a script, with `files` as standard input, output and error."""
    import torch

    from paceline.cli.main import main

    signal.signal(signal.SIGINT, signal.default_int_handler)  # tests in the background would ignore both
    signal.signal(signal.SIGHUP, signal.SIG_DFL)
    torch.set_num_threads(1)  # as a worker of the tests has it: the last bits of sums depend on it
    os.chdir(cwd)
    os.environ["COLUMNS"] = columns
    for descriptor, (file, flags) in enumerate(
        zip(files, (os.O_RDONLY, *[os.O_WRONLY | os.O_CREAT] * 2), strict=True)
    ):
        opened = os.open(file, flags)
        os.dup2(opened, descriptor)
        os.close(opened)
    sys.stdin, sys.stdout, sys.stderr = (open(i, mode) for i, mode in enumerate("rww"))  # noqa: SIM115
    sys.argv = arguments if script else ["paceline", *arguments]
    try:
        if script:
            runpy.run_path(arguments[0], run_name="__main__")
        else:
            main()
    finally:
        sys.stdout.flush()
        sys.stderr.flush()

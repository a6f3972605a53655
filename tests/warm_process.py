"""The command line in processes of its own that need not import torch each: forked from one that has."""

import multiprocessing
import os
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


def run_warm(*arguments: Any, cwd: Path, stdin: str = "") -> CompletedProcess[str]:
    """Runs `paceline ARGUMENTS` in a folder; its exit code and what it wrote."""
    with tempfile.TemporaryDirectory() as scratch:
        files = [Path(scratch) / name for name in ("in", "out", "err")]
        files[0].write_text(stdin)
        process = WARM.Process(
            target=run_main, args=([str(a) for a in arguments], str(cwd), list(map(str, files)))
        )
        process.start()
        process.join()
        code = process.exitcode if process.exitcode is not None else -1
        return CompletedProcess(list(arguments), code, files[1].read_text(), files[2].read_text())


def run_main(arguments: list[str], cwd: str, files: list[str]) -> None:
    """The command line with `files` as standard input, output and error."""
    from paceline.cli.main import main

    os.chdir(cwd)
    for descriptor, (file, flags) in enumerate(
        zip(files, (os.O_RDONLY, *[os.O_WRONLY | os.O_CREAT] * 2), strict=True)
    ):
        opened = os.open(file, flags)
        os.dup2(opened, descriptor)
        os.close(opened)
    sys.stdin, sys.stdout, sys.stderr = (open(i, mode) for i, mode in enumerate("rww"))  # noqa: SIM115
    sys.argv = ["paceline", *arguments]
    try:
        main()
    finally:
        sys.stdout.flush()
        sys.stderr.flush()

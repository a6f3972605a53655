"""The command line in processes of its own that need not import torch each: forked from one that has."""

import multiprocessing
import os
import runpy
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


def run_warm(*arguments: Any, cwd: Path, stdin: str = "", script: bool = False) -> CompletedProcess[str]:
    """Runs `paceline ARGUMENTS`, or a Python script, in a folder; its exit code and what it wrote.

    The terminal's width is the caller's COLUMNS: the server that is forked from may have begun with another.
    """
    with tempfile.TemporaryDirectory() as scratch:
        files = [Path(scratch) / name for name in ("in", "out", "err")]
        files[0].write_text(stdin)
        given = [str(argument) for argument in arguments]
        process = WARM.Process(
            target=run_main,
            args=(given, str(cwd), list(map(str, files)), os.environ.get("COLUMNS", ""), script),
        )
        process.start()
        process.join()
        code = process.exitcode if process.exitcode is not None else -1
        return CompletedProcess(list(arguments), code, files[1].read_text(), files[2].read_text())


def run_main(
    arguments: list[str], cwd: str, files: list[str], columns: str = "", script: bool = False
) -> None:
    """The command line, or a script, with `files` as standard input, output and error."""
    import torch

    from paceline.cli.main import main

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

"""A real server that is told to end: answers under way are finished, and it waits for nobody for ever."""

from __future__ import annotations

import http.client
import json
import os
import signal
import socket
import time
from collections.abc import Iterator
from multiprocessing.context import ForkServerProcess
from pathlib import Path

import pytest

from helpers import MakeRecipe
from paceline.model.base import Base
from warm_process import WARM, run_main

# Seconds that SIGTERM may take, and as many again for a busy machine.
PATIENCE = 20


@pytest.fixture
def server(
    loaded_base: Base, recipe: MakeRecipe, tmp_path: Path
) -> Iterator[tuple[ForkServerProcess, int, Path]]:
    loaded_base.new_adapter(recipe()).save(tmp_path / "own", recipe())
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    (tmp_path / "in").touch()
    files = [str(tmp_path / name) for name in ("in", "out", "err")]
    process = WARM.Process(
        target=run_main, args=(["serve", str(tmp_path / "own"), "--port", str(port)], str(tmp_path), files)
    )
    process.start()
    try:
        yield process, port, tmp_path / "err"
    finally:
        process.kill()
        process.join()


def asked(port: int, **fields: object) -> http.client.HTTPResponse:
    """A streamed answer that has begun."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=120)
    body = {"model": "own", "messages": [{"role": "user", "content": "Why?"}], "stream": True, **fields}
    connection.request("POST", "/v1/chat/completions", json.dumps(body))
    response = connection.getresponse()
    assert response.status == 200, response.read()
    return response


def wait_until_it_answers(process: ForkServerProcess, port: int) -> None:
    while process.is_alive():
        try:
            socket.create_connection(("127.0.0.1", port), timeout=1).close()
            return
        except OSError:
            time.sleep(0.05)
    raise AssertionError("the server ended before it was asked")


def test_sigterm_finishes_answers_refuses_others_and_ends(
    server: tuple[ForkServerProcess, int, Path],
) -> None:
    process, port, errors = server
    wait_until_it_answers(process, port)
    deaf = asked(
        port, max_tokens=400, temperature=1.0, n=8, logprobs=True, top_logprobs=20
    )  # more than a pipe holds
    answer = asked(port, max_tokens=40, temperature=1.0)
    begun = answer.readline()
    assert begun.startswith(b"data: ")
    assert process.pid is not None
    os.kill(process.pid, signal.SIGTERM)
    rest = answer.read()
    assert rest.rstrip().endswith(b"data: [DONE]")
    assert json.loads(rest.split(b"data: ")[-2].split(b"\n")[0]).get("choices") is not None
    with pytest.raises(ConnectionRefusedError):  # while the client that never reads is waited for
        socket.create_connection(("127.0.0.1", port), timeout=1)
    process.join(PATIENCE)
    assert process.exitcode is not None, "it waits for a client that never reads"
    assert "Traceback" not in errors.read_text()
    assert process.exitcode == -signal.SIGTERM  # 143 in a shell
    with pytest.raises(http.client.IncompleteRead):
        deaf.read()  # it was cut off, and can tell

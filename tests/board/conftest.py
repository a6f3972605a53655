"""A board of a small study that really trained, asked in-process and in a browser."""

import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import uvicorn
from starlette.testclient import TestClient

from helpers import MakeBase
from paceline.board.app import make_app
from paceline.config.load import make_recipe
from paceline.config.study import Run, Study
from paceline.training.study import train_study
from report.conftest import browser  # noqa: F401

TOKEN = "a-token-of-tests"
HOST = "http://127.0.0.1:8001"
EVIL = "<script>window.evil = 1</script>"


@pytest.fixture(scope="session")
def boarded(tiny_base: MakeBase, sums: str, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two recipes' finished runs, the second with another replicate; the objective holds markup."""
    folder = tmp_path_factory.mktemp("board") / "study"
    common = {"base": tiny_base(), "data": sums, "max_length": 128, "max_steps": 6, "logging_steps": 1}
    fields = {"plain": {"lr": 1e-3}, "faster": {"lr": 1e-2}, "faster-seed43": {"lr": 1e-2, "seed": 43}}
    runs = [
        Run(
            name=name,
            hypothesis=EVIL,
            recipe=make_recipe({**common, **own}, name),
            replicate_of="faster" if "seed" in name else "",
        )
        for name, own in fields.items()
    ]
    train_study(Study(name="study", objective=EVIL, runs=runs), folder)
    return folder


@pytest.fixture
def ask(boarded: Path) -> Iterator[Callable[..., Any]]:
    with asking(boarded) as asked:
        yield asked


@contextmanager
def asking(folder: Path) -> Iterator[Callable[..., Any]]:
    """Opens the board as the printed address does, then asks it: (method, path, fields) -> the response."""
    with TestClient(make_app(folder, TOKEN), base_url=HOST, follow_redirects=False) as client:
        assert client.get(f"/?token={TOKEN}").status_code == 200

        def asked(method: str, path: str, data: Any = None, **headers: str) -> Any:
            given = {"Origin": HOST, **headers}
            return client.request(method, path, data=data, headers=given)

        yield asked


@contextmanager
def served(path: Path) -> Iterator[str]:
    """The address of a board of a folder, by a real server."""
    with socket.socket() as listening:
        listening.bind(("127.0.0.1", 0))
        config = uvicorn.Config(make_app(path, TOKEN), log_level="warning", timeout_graceful_shutdown=1)
        server = uvicorn.Server(config)
        thread = threading.Thread(target=server.run, kwargs={"sockets": [listening]})
        thread.start()
        while not server.started:
            time.sleep(0.01)
        yield f"http://127.0.0.1:{listening.getsockname()[1]}"
        server.should_exit = True
        thread.join()

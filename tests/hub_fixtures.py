"""A trained study, and the command line of a machine whose hub is a server of the tests."""

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from hub import TOKEN, Hub
from paceline.config.load import make_recipe
from paceline.config.study import Run, Study
from paceline.training.study import train_study


@pytest.fixture(scope="session")
def studied(tmp_path_factory: pytest.TempPathFactory) -> Any:
    """Two runs over the embedded base."""
    folder = tmp_path_factory.mktemp("ship") / "study"
    common = {
        "base": "embedded",
        "data": {"source": "embedded:rust", "n": 60, "eval_ratio": 0.3},
        "lr": 2e-3,
        "batch_size": 4,
        "grad_accum": 1,
        "max_steps": 4,
    }
    runs = [
        Run(name="a", recipe=make_recipe(common, "a")),
        Run(name="b", hypothesis="It is faster.", recipe=make_recipe({**common, "lr": 4e-3}, "b")),
    ]
    train_study(Study(name="study", objective="Which is faster?", runs=runs), folder)
    return folder


@pytest.fixture
def hub() -> Iterator[Any]:
    server = Hub()
    yield server
    server.shutdown()


@pytest.fixture
def quick(hub: Any, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Any:
    """This process speaks to the hub, and nobody sleeps between two tries."""
    settings = {
        "ENDPOINT": hub.url,
        "HUGGINGFACE_CO_URL_TEMPLATE": hub.url + "/{repo_id}/resolve/{revision}/{filename}",
        "HF_HUB_OFFLINE": False,
        "HF_HUB_DISABLE_XET": True,
        "HF_TOKEN_PATH": str(tmp_path / "no-token"),
    }
    for name, value in settings.items():
        monkeypatch.setattr(f"huggingface_hub.constants.{name}", value)
    monkeypatch.setattr("huggingface_hub.utils._http.time.sleep", lambda seconds: None)
    monkeypatch.setenv("HF_TOKEN", TOKEN)
    return hub


@pytest.fixture
def paceline(hub: Any, tmp_path: Path) -> Any:
    """Runs the command line with the hub's address and a token; gives the finished process."""

    def run(*arguments: Any, token: Any = TOKEN, **variables: Any) -> Any:
        environment = {
            **{key: value for key, value in os.environ.items() if key not in ("HF_HUB_OFFLINE", "HF_TOKEN")},
            "HF_ENDPOINT": hub.url,
            "HF_HOME": str(tmp_path / "hf"),
            "HF_HUB_DISABLE_XET": "1",
            **{name: value for name, value in variables.items() if value},
        }
        if token:
            environment["HF_TOKEN"] = token
        command = [sys.executable, "-m", "paceline", *map(str, arguments)]
        return subprocess.run(
            command, env=environment, capture_output=True, text=True, check=False, cwd=tmp_path
        )

    return run

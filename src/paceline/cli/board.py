"""A study live in a browser."""

from pathlib import Path
from typing import Annotated

import typer


def board(
    study: Annotated[Path, typer.Argument(help="A study's folder, or a run directory.")],
    port: Annotated[int, typer.Option(min=0, max=65535, help="0: any that is free.")] = 8001,
) -> None:
    """Show a study live in a browser of this machine; prints the address with the token that it needs."""
    import secrets
    import socket

    from paceline.errors import ConfigError, MissingExtra
    from paceline.runs.study import run_directories

    try:
        import uvicorn

        from paceline.board.app import make_app
        from paceline.evaluate.serving.protocol import PatientProtocol
    except ImportError as error:
        raise MissingExtra("`paceline board`", "a web server", "serve") from error
    run_directories([study])  # refuses what is no study
    token = secrets.token_urlsafe(24)
    with socket.socket() as listening:
        listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            listening.bind(("127.0.0.1", port))
            listening.listen()  # who opens the address at once waits a moment
        except OSError as error:
            raise ConfigError(
                f"--port {port}: cannot be listened on ({error.strerror}); choose another"
            ) from error
        print(f"http://127.0.0.1:{listening.getsockname()[1]}/?token={token}", flush=True)
        config = uvicorn.Config(
            make_app(study, token), log_level="warning", http=PatientProtocol, timeout_graceful_shutdown=1
        )
        uvicorn.Server(config).run(sockets=[listening])

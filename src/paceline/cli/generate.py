"""What adapters answer: chat with one, let many answer a file of prompts, serve them."""

from pathlib import Path
from typing import Annotated, Any

import typer

from paceline.cli.options import MaxNewTokens, Seed, Temperature, Thinking, TopP, log


def chat(
    run: Annotated[Path, typer.Argument(help="Run directory, or an adapter in PEFT's format.")],
    temperature: Temperature = 0.0,
    top_p: TopP = 0.9,
    max_new_tokens: MaxNewTokens = 512,
    system: Annotated[str | None, typer.Option(help="System message.")] = None,
    thinking: Thinking = False,
    seed: Seed = 0,
) -> None:
    """Talk to an adapter. Reads prompts line by line; an empty line or Ctrl-D ends."""
    import sys

    from paceline.errors import visible
    from paceline.evaluate.adapters import load_adapters
    from paceline.evaluate.answers import stream
    from paceline.evaluate.generate import Sampling

    adapter_set = load_adapters([run])
    (name,) = adapter_set.adapters
    sampling = Sampling(temperature, top_p, max_new_tokens, seed)
    messages = [{"role": "system", "content": system}] if system else []
    while True:
        if sys.stdin.isatty():
            print("you> ", end="", flush=True)
        line = sys.stdin.readline().strip()
        if not line:
            break
        messages.append({"role": "user", "content": line})
        answer = ""
        for text in stream(adapter_set, name, messages, sampling, thinking):
            print(visible(text) if sys.stdout.isatty() else text, end="", flush=True)
            answer += text
        messages.append({"role": "assistant", "content": answer})
        print(flush=True)


def generate(
    runs: Annotated[
        list[Path], typer.Argument(help="Run directories, a study's folder, or adapters in PEFT's format.")
    ],
    prompts: Annotated[Path, typer.Option(help="JSONL file; each line has `prompt` or `messages`.")],
    out: Annotated[
        Path,
        typer.Option(
            "-o",
            "--out",
            help="JSONL file to write; those of its answers that are the same are kept.",
        ),
    ],
    with_base: Annotated[bool, typer.Option("--with-base", help="Let the bare base answer too.")] = False,
    samples: Annotated[int, typer.Option(min=1, help="Answers to each prompt.")] = 1,
    temperature: Temperature = 0.0,
    top_p: TopP = 1.0,
    max_new_tokens: MaxNewTokens = 512,
    thinking: Thinking = False,
    seed: Seed = 0,
    engine: Annotated[str, typer.Option(help="paceline, or vllm (extra `vllm`).")] = "paceline",
    batch_invariant: Annotated[
        bool,
        typer.Option(
            "--batch-invariant",
            help="One prompt at a time where an answer could depend on those beside it (a GPU, bf16, fp16, "
            "quantized bases, mixtures of experts); many times slower.",
        ),
    ] = False,
) -> None:
    """Let one or many adapters over one base answer a file of prompts, all at once.

    After an interruption the same command goes on.
    """
    from paceline.cli.progress import answering
    from paceline.errors import ConfigError
    from paceline.evaluate.adapters import load_adapters
    from paceline.evaluate.answers import answer_all, read_answers, read_prompts
    from paceline.evaluate.generate import Sampling
    from paceline.runs.evaluations import Answer

    requested = read_prompts(prompts)
    read_answers(out, Answer)  # refuses a file of something else before a base is loaded
    adapter_set: Any
    if engine == "vllm":
        from paceline.evaluate.vllm import VLLMAdapterSet

        adapter_set = VLLMAdapterSet(runs, with_base)
    elif engine == "paceline":
        adapter_set = load_adapters(runs, with_base, batch_invariant)
    else:
        raise ConfigError(f"no engine {engine!r}; there are paceline and vllm")
    with answering() as observe:
        lines = answer_all(
            adapter_set,
            requested,
            out,
            Sampling(temperature, top_p, max_new_tokens, seed),
            thinking,
            samples,
            observe,
            log,
        )
    cut = sum(line.finish == "length" for line in lines)
    print(f"{len(lines)} answers in {out}" + (f"; {cut} cut at {max_new_tokens} tokens" if cut else ""))


def serve(
    runs: Annotated[
        list[Path], typer.Argument(help="Run directories, a study's folder, or adapters in PEFT's format.")
    ],
    host: Annotated[
        str, typer.Option(help="Address to listen on; one beyond this machine needs a key.")
    ] = "127.0.0.1",
    port: Annotated[int, typer.Option(min=0, max=65535)] = 8000,
    api_key: Annotated[
        str | None,
        typer.Option(
            envvar="PACELINE_API_KEY",
            show_envvar=True,
            help="Key that every request must bring; rather in the environment, where `ps` does not show it.",
        ),
    ] = None,
) -> None:
    """Serve runs behind an OpenAI-compatible chat endpoint.

    Each is a model under its name, the bare base is `base`.
    """
    import contextlib
    import sys

    from paceline.errors import ConfigError, MissingExtra
    from paceline.evaluate.adapters import load_adapters

    try:
        import uvicorn

        from paceline.evaluate.serving.app import make_app
        from paceline.evaluate.serving.guard import is_loopback
        from paceline.evaluate.serving.protocol import READER_SECONDS, PatientProtocol, PatientServer
    except ImportError as error:
        raise MissingExtra("`paceline serve`", "a web server", "serve") from error
    if api_key is not None and not (
        api_key and api_key.isascii() and api_key.isprintable() and api_key.strip() == api_key
    ):
        raise ConfigError("--api-key: a key is printable ASCII without spaces, and not empty")
    if api_key is None and not is_loopback(host):
        raise ConfigError(
            f"--host {host}: others can reach it; set PACELINE_API_KEY (or --api-key), or listen on 127.0.0.1"
        )
    adapter_set = load_adapters(runs, with_base=True)
    print(f"models: {', '.join(adapter_set.adapters)}; base_url http://{host}:{port}/v1", file=sys.stderr)
    config = uvicorn.Config(
        make_app(adapter_set, api_key),
        host=host,
        port=port,
        log_level="warning",
        http=PatientProtocol,
        timeout_graceful_shutdown=READER_SECONDS,
    )
    server = PatientServer(config)
    with contextlib.suppress(KeyboardInterrupt):  # Ctrl-C ends it as SIGTERM does
        server.run()
    if not server.started:
        sys.exit(3)

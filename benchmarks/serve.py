"""`paceline serve` under many streaming clients at once, over loopback, beside `transformers serve`.

    python benchmarks/serve.py runs/first --clients 200 --minutes 10

Each client asks for one greedy answer after another, of at most 32 tokens; of transformers the base, which
is all that it serves, of Paceline the base and the runs in turn. Reports of each failed answers, those that
were not there a minute after the end, the server's memory as it goes, the time to the first token, tokens a
second and the time that SIGTERM took, into benchmarks/results/serve-cpu.json.
"""

import argparse
import asyncio
import json
import os
import signal
import socket
import subprocess
import sys
import time
from importlib.metadata import version
from pathlib import Path

import httpx
import numpy as np
import psutil

from paceline import embedded
from paceline.evaluate.adapters import adapter_recipes

NEW_TOKENS = 32
SECONDS_AFTER = 60  # for the answers under way at the end
LONGEST_WAIT = 900  # seconds; a client gives up after


async def client(address: str, model: str, number: int, until: float, seen: dict) -> None:
    """One client, one answer after another; `seen` gathers waits (s), tokens and errors."""
    async with httpx.AsyncClient(base_url=address, timeout=LONGEST_WAIT) as session:
        while time.monotonic() < until:
            number += 1000
            body = {
                "model": model,
                "messages": [{"role": "user", "content": f"What is {number} plus {number % 7}?"}],
                "max_tokens": NEW_TOKENS,
                "temperature": 0,
                "stream": True,
                "stream_options": {"include_usage": True},
                "chat_template_kwargs": {"enable_thinking": False},
            }
            try:
                await one_answer(session, body, seen)
            except (httpx.HTTPError, RuntimeError) as error:
                seen["errors"].append(f"{type(error).__name__}: {error}")


async def one_answer(session: httpx.AsyncClient, body: dict, seen: dict) -> None:
    """Streams one answer; RuntimeError where it is refused or cut."""
    began, first, deltas, usage, ended = time.monotonic(), None, 0, None, False
    async with session.stream("POST", "/v1/chat/completions", json=body) as reply:
        if reply.status_code != 200:
            raise RuntimeError(f"HTTP {reply.status_code}")
        async for line in reply.aiter_lines():
            if not line.startswith("data: "):
                continue
            data = line.removeprefix("data: ")
            chunk = json.loads(data) if data != "[DONE]" else {}
            if "error" in chunk:
                raise RuntimeError(chunk["error"]["message"])
            for choice in chunk.get("choices", []):
                if choice["delta"].get("content") or choice["delta"].get("reasoning_content"):
                    first = first or time.monotonic() - began
                    deltas += 1
                ended = ended or bool(choice.get("finish_reason"))
            usage = chunk.get("usage") or usage
    if not ended:
        raise RuntimeError("the stream was cut")
    seen["answers"], seen["last"] = seen["answers"] + 1, time.monotonic()
    seen["tokens"] += usage["completion_tokens"] if usage else deltas
    if first is not None:
        seen["first"].append(first)


async def load(address: str, models: list[str], clients: int, seconds: float, pid: int) -> dict:
    """All clients for so long; what they saw and the server's memory every 10 s."""
    seen: dict = {"first": [], "tokens": 0, "answers": 0, "last": 0.0, "errors": [], "memory": []}
    until = time.monotonic() + seconds

    async def watch() -> None:
        while True:
            seen["memory"].append(psutil.Process(pid).memory_info().rss // 2**20)
            await asyncio.sleep(10)

    watching = asyncio.create_task(watch())
    asking = [
        asyncio.create_task(client(address, models[n % len(models)], n, until, seen)) for n in range(clients)
    ]
    _, late = await asyncio.wait(asking, timeout=seconds + SECONDS_AFTER)
    for task in [*late, watching]:
        task.cancel()
    seen["late"] = len(late)
    return seen


def measure(command: list[str], port: int, models: list[str], clients: int, minutes: float) -> dict:
    """Starts a server, puts the load on it and ends it; what was seen."""
    address = f"http://127.0.0.1:{port}"
    busy, quiet = os.getloadavg()[0], subprocess.DEVNULL
    server = subprocess.Popen([*command, "--port", str(port)], stdout=quiet, stderr=quiet)
    while True:
        try:
            httpx.get(f"{address}/health")
            break
        except httpx.TransportError:
            if server.poll() is not None:
                sys.exit(f"{' '.join(command)} did not start")
            time.sleep(0.2)
    began = time.monotonic()
    seen = asyncio.run(load(address, models, clients, minutes * 60, server.pid))
    took = max(minutes * 60, seen["last"] - began)
    server.send_signal(signal.SIGTERM)
    began = time.monotonic()
    server.wait()
    p50, p95 = np.percentile(seen["first"], [50, 95])
    return {
        "load_average_before": round(busy, 1),
        "models": len(models),
        "answers": seen["answers"],
        "errors": len(seen["errors"]),
        "kinds_of_errors": sorted(set(seen["errors"]))[:5],
        "not_there_after_a_minute": seen["late"],
        "first_token_seconds": {"p50": round(p50, 2), "p95": round(p95, 2)},
        "tokens_per_second": round(seen["tokens"] / took, 1),
        "memory_mib": seen["memory"],
        "sigterm_seconds": round(time.monotonic() - began, 2),
    }


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("runs", nargs="+", type=Path)
    parser.add_argument("--clients", type=int, default=200)
    parser.add_argument("--minutes", type=float, default=10)
    parser.add_argument("--out", type=Path, default=Path("benchmarks/results/serve-cpu.json"))
    args = parser.parse_args()
    recipes = adapter_recipes(args.runs)
    base = next(iter(recipes.values())).base
    base = str(embedded.BASE) if base == "embedded" else base
    paceline = [sys.executable, "-m", "paceline", "serve", *map(str, args.runs)]
    transformers = [str(Path(sys.executable).parent / "transformers"), "serve", base, "--dtype", "float32"]
    served = {
        "paceline": (paceline, ["base", *(path.resolve().name for path in recipes)]),
        "transformers": ([*transformers, "--device", "cpu", "--host", "127.0.0.1"], [base]),
    }
    result = {
        "versions": {name: version(name) for name in ("paceline", "transformers", "torch")},
        "cores": os.cpu_count(),
        "clients": args.clients,
        "minutes": args.minutes,
        "new_tokens": NEW_TOKENS,
    }
    for name, (command, models) in served.items():
        result[name] = measure(command, free_port(), models, args.clients, args.minutes)
        args.out.write_text(json.dumps(result, indent=1) + "\n")
    ours, other = result["paceline"], result["transformers"]
    if not other["not_there_after_a_minute"]:  # else it did not bear the load: there is no rate to compare
        result["tokens_per_second_ratio"] = round(ours["tokens_per_second"] / other["tokens_per_second"], 1)
    args.out.write_text(json.dumps(result, indent=1) + "\n")
    print(json.dumps(result, indent=1))


if __name__ == "__main__":
    main()

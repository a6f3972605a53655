"""`paceline serve` under many streaming clients at once, over loopback.

    python benchmarks/serve.py runs/first --clients 200 --minutes 10

Each client asks for one greedy answer after another, of at most 32 tokens. Reports failed answers, the
server's memory as it goes, the time to the first token, tokens a second and the time that SIGTERM took,
into benchmarks/results/serve-cpu.json.
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

NEW_TOKENS = 32


async def client(address: str, model: str, number: int, until: float, seen: dict) -> None:
    """One client, one answer after another; `seen` gathers waits (s), tokens and errors."""
    async with httpx.AsyncClient(base_url=address, timeout=300) as session:
        while time.monotonic() < until:
            number += 1000
            body = {
                "model": model,
                "messages": [{"role": "user", "content": f"What is {number} plus {number % 7}?"}],
                "max_tokens": NEW_TOKENS,
                "temperature": 0,
                "stream": True,
                "stream_options": {"include_usage": True},
            }
            try:
                await one_answer(session, body, seen)
            except (httpx.HTTPError, RuntimeError) as error:
                seen["errors"].append(f"{type(error).__name__}: {error}")


async def one_answer(session: httpx.AsyncClient, body: dict, seen: dict) -> None:
    """Streams one answer; RuntimeError where it is refused or cut."""
    began, first, last = time.monotonic(), None, ""
    async with session.stream("POST", "/v1/chat/completions", json=body) as reply:
        if reply.status_code != 200:
            raise RuntimeError(f"HTTP {reply.status_code}")
        async for line in reply.aiter_lines():
            if not line.startswith("data: "):
                continue
            last = line.removeprefix("data: ")
            chunk = json.loads(last) if last != "[DONE]" else {}
            if "error" in chunk:
                raise RuntimeError(chunk["error"]["message"])
            if first is None and any(choice["delta"].get("content") for choice in chunk.get("choices", [])):
                first = time.monotonic() - began
            if usage := chunk.get("usage"):
                seen["tokens"] += usage["completion_tokens"]
    if last != "[DONE]":
        raise RuntimeError("the stream was cut")
    seen["answers"] += 1
    if first is not None:
        seen["first"].append(first)


async def load(address: str, models: list[str], clients: int, seconds: float, pid: int) -> dict:
    """All clients for so long; what they saw and the server's memory every 10 s."""
    seen: dict = {"first": [], "tokens": 0, "answers": 0, "errors": [], "memory": []}
    until = time.monotonic() + seconds

    async def watch() -> None:
        while True:
            seen["memory"].append(psutil.Process(pid).memory_info().rss // 2**20)
            await asyncio.sleep(10)

    watching = asyncio.create_task(watch())
    await asyncio.gather(*(client(address, models[n % len(models)], n, until, seen) for n in range(clients)))
    watching.cancel()
    return seen


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("runs", nargs="+")
    parser.add_argument("--clients", type=int, default=200)
    parser.add_argument("--minutes", type=float, default=10)
    parser.add_argument("--out", type=Path, default=Path("benchmarks/results/serve-cpu.json"))
    args = parser.parse_args()
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    address = f"http://127.0.0.1:{port}"
    command = [sys.executable, "-m", "paceline", "serve", *args.runs, "--port", str(port)]
    server = subprocess.Popen(command)
    while True:
        try:
            models = [model["id"] for model in httpx.get(f"{address}/v1/models").json()["data"]]
            break
        except httpx.TransportError:
            if server.poll() is not None:
                sys.exit("the server did not start")
            time.sleep(0.2)
    began = time.monotonic()
    seen = asyncio.run(load(address, models, args.clients, args.minutes * 60, server.pid))
    took = time.monotonic() - began
    server.send_signal(signal.SIGTERM)
    began = time.monotonic()
    server.wait()
    p50, p95 = np.percentile(seen["first"], [50, 95])
    result = {
        "paceline": version("paceline"),
        "cores": os.cpu_count(),
        "clients": args.clients,
        "minutes": args.minutes,
        "models": len(models),
        "new_tokens": NEW_TOKENS,
        "answers": seen["answers"],
        "errors": len(seen["errors"]),
        "kinds_of_errors": sorted(set(seen["errors"]))[:5],
        "first_token_seconds": {"p50": round(p50, 2), "p95": round(p95, 2)},
        "tokens_per_second": round(seen["tokens"] / took, 1),
        "memory_mib": seen["memory"],
        "sigterm_seconds": round(time.monotonic() - began, 2),
    }
    args.out.write_text(json.dumps(result, indent=1) + "\n")
    print(json.dumps(result, indent=1))


if __name__ == "__main__":
    main()

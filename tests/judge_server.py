"""Questions for MT-Bench, cases for judges, and a judge's server that misbehaves."""

import json
import random
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from paceline.evaluate.mtbench.judges.judge import GradingCase

CATEGORIES = ("writing", "math", "reasoning", "coding")
QUESTIONS = [
    {"question_id": 900 + i, "category": CATEGORIES[i % 4], "turns": [f"How many legs have {i + 2} cats?", "And with one dog more?"],
     **({"reference": [f"{4 * (i + 2)}", f"{4 * (i + 3)}"]} if i % 4 in (1, 2) else {})}
    for i in range(12)
]  # fmt: skip


class Server(ThreadingHTTPServer):
    """Speaks OpenAI's chat API; a share of its requests goes wrong. Counts what it answered well, by what was asked.

    `reply` gives the text of an answer from the text of a request.
    """

    def __init__(self, faults: Any, share: Any, reply: Any = None) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.faults, self.share, self.rng, self.lock = faults, share, random.Random(0), threading.Lock()
        self.answered = {}
        self.keys: list[str | None] = []
        self.reply = reply or (lambda asked: f"Rating: [[{1 + len(asked) % 10}]]")
        threading.Thread(target=self.serve_forever, daemon=True).start()

    @property
    def url(self) -> Any:
        return f"http://127.0.0.1:{self.server_address[1]}/v1"

    def handle_error(self, request: Any, client_address: Any) -> None:
        pass


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_POST(self) -> None:
        asked = self.rfile.read(int(self.headers["Content-Length"])).decode()
        with self.server.lock:
            self.server.keys.append(self.headers["Authorization"])
            fault = (
                self.server.rng.choice(self.server.faults)
                if self.server.rng.random() < self.server.share
                else None
            )
        if fault in (429, 500, 401):
            self.send(
                fault,
                b'{"error": {"message": "no"}}',
                {"Retry-After": "0.01"} if self.server.rng.random() < 0.5 else {},
            )
        elif fault == "hang":
            time.sleep(1.5)
            self.close_connection = True
        elif fault == "cut":
            self.wfile.write(b"HTTP/1.1 200 OK\r\nContent-Length: 500\r\n\r\n{")
            self.close_connection = True
        elif fault == "malformed":
            self.send(200, b'{"choices": [', {})
        else:
            with self.server.lock:
                self.server.answered[asked] = self.server.answered.get(asked, 0) + 1
            text = "no number" if fault == "no-rating" else self.server.reply(asked)
            body = {"id": "x", "object": "chat.completion", "created": 1, "model": "m", "choices": [{"index": 0, "finish_reason": "stop", "message": {"role": "assistant", "content": text}}], "usage": {"prompt_tokens": 7, "completion_tokens": 3, "total_tokens": 10}}  # fmt: skip
            self.send(200, json.dumps(body).encode(), {})

    def send(self, status: Any, body: Any, headers: Any) -> None:
        self.send_response(status)
        for name, value in {
            "Content-Type": "application/json",
            "Content-Length": str(len(body)),
            **headers,
        }.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *args: Any) -> None:
        pass


CASES = [
    GradingCase(
        prompt=[{"role": "user", "content": f"grade number {i} " + "." * (i % 17)}],
        question=f"q{i}",
        answer=f"a{i}",
    )
    for i in range(160)
]

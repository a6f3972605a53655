"""The board's pages: what is looked at by GET, what changes or spends something by POST."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping
from contextlib import aclosing, asynccontextmanager
from pathlib import Path
from urllib.parse import parse_qsl, urlencode

from starlette.applications import Starlette
from starlette.concurrency import run_in_threadpool
from starlette.datastructures import ImmutableMultiDict
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import HTMLResponse, Response, StreamingResponse
from starlette.routing import Route

from paceline.board.choice import Choice, choose
from paceline.board.editing import answer, study_text
from paceline.board.examples import browse
from paceline.board.gate import Gate
from paceline.board.live import Live
from paceline.board.pages import asset, templates
from paceline.board.playground import Playground, Round
from paceline.board.stop import stop
from paceline.errors import PacelineError
from paceline.evaluate.adapters import BASE
from paceline.evaluate.serving.body import RequestError
from paceline.evaluate.serving.guard import Guard, Limits, UnderWay, read_raw
from paceline.report.export import page_content, plot_data
from paceline.runs.files import json_text
from paceline.stats.votes import votes_needed

# Seconds between two looks at the folder, and after which a quiet stream shows that it lives.
LOOK, QUIET = 1.0, 15.0
STREAMS = 32
# A study's adapters that answer, and the few other fields of a form.
MOST_FIELDS = 1_000
LIMITS = Limits(body_bytes=2**20)


class Board:
    """What the pages share.

    Args:
        path: a study's folder, or a run directory.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.live = Live(path, templates())
        self.streams = 0
        self.busy = asyncio.Lock()
        self.playground = Playground(path)

    async def overview(self, request: Request) -> Response:
        return self.page("overview", "/", content={"parts": await run_in_threadpool(self.live.parts)})

    async def results(self, request: Request) -> Response:
        """The whole report, its scripts as files."""
        facts = await run_in_threadpool(self.live.facts)
        if facts is None:
            return self.message("Results", "No run has begun.")
        content = await run_in_threadpool(page_content, facts)
        return self.page("results", "/results", content={**content, "data": plot_data(facts)})

    async def stream(self, request: Request) -> Response:
        """Server-sent events: {id: HTML} of the parts that have changed."""
        if self.streams >= STREAMS:
            raise HTTPException(429, f"{STREAMS} pages follow this study already; close one")
        return StreamingResponse(self._events(), media_type="text/event-stream")

    async def _events(self) -> AsyncIterator[str]:
        sent: dict[str, str] = {}
        quiet = 0.0
        self.streams += 1
        try:
            while True:
                parts = await run_in_threadpool(self.live.parts)
                new = {name: html for name, html in parts.items() if sent.get(name) != html}
                sent |= new
                if new:
                    yield f"data: {json_text(new)}\n\n"
                elif (quiet := quiet + LOOK) >= QUIET:
                    yield ": quiet\n\n"
                quiet = 0.0 if new or quiet >= QUIET else quiet
                await asyncio.sleep(LOOK)
        finally:
            self.streams -= 1

    async def stop(self, request: Request) -> Response:
        run = (await fields(request)).get("run", "")
        trainer = await run_in_threadpool(stop, self.live.directories(), run)
        said = (
            f"pid {trainer.holder.pid} was told to save after its step and stop, with "
            f"{', '.join(trainer.runs)}. The command that started it goes on from there."
        )
        return self.message("Stopping", said)

    async def edit(self, request: Request) -> Response:
        text = await run_in_threadpool(study_text, self.path, self.live.directories())
        return self.page("study", "/study", {"text": text})

    async def ask(self, request: Request) -> Response:
        given = await fields(request)
        text, question = given.get("text", ""), given.get("question", "")
        shown: dict[str, object] = {"text": text, "question": question}
        async with self.alone():
            try:
                said, (names, rows) = await run_in_threadpool(answer, text, question, self.path)
            except PacelineError as error:
                return self.page("study", "/study", {**shown, "said": str(error), "is_refused": True}, 422)
        return self.page("study", "/study", {**shown, "said": said, "names": names, "rows": rows})

    async def data(self, request: Request) -> Response:
        directories = {one.name: one for one in self.live.directories() if one.recipe_file.is_file()}
        asked = request.query_params
        run, search, start = (
            asked.get("run") or next(iter(directories), ""),
            asked.get("search", ""),
            asked.get("start", "1"),
        )
        if run not in directories or not start.isdecimal() or len(start) > 12:
            raise HTTPException(404, "no run of this name has begun, or the number of an example is none")
        async with self.alone():
            shelf = await run_in_threadpool(browse, directories[run], int(start), search[:200])
        onward = urlencode({"run": run, "search": search, "start": shelf.following})
        shown = {"runs": list(directories), "run": run, "search": search, "start": start}
        return self.page("data", "/data", {**shown, "shelf": shelf, "onward": onward})

    async def play(self, request: Request) -> Response:
        return self.playing({}, await self.choice(request.query_params.getlist("adapter")))

    async def choice(self, names: list[str]) -> Choice:
        return await run_in_threadpool(choose, self.path, names)

    async def ask_all(self, request: Request) -> Response:
        """A round as one page, for browsers without scripts."""
        given = await fields(request)
        prompt, choice = given.get("prompt", ""), await self.choice(given.getlist("adapter"))
        async with self.alone():
            round = await self.begun(prompt, choice)
            async for _ in round.pieces():
                pass
        number = self.playground.keep(round)
        return self.playing({"prompt": prompt, "round": number, "answers": round.answers}, choice)

    async def say_all(self, request: Request) -> Response:
        """A round as it is answered, a JSON object a line."""
        given = await fields(request)
        said = self._said(given.get("prompt", ""), given.getlist("adapter"))
        return StreamingResponse(said, media_type="application/x-ndjson")

    async def _said(self, prompt: str, names: list[str]) -> AsyncIterator[str]:
        """First {"parts": {id: HTML of empty columns}}, then {"column": from 0, "text": what is new of it}.

        Last {"parts": {id: HTML with all answers and the buttons to vote}}, or {"error": what went wrong}.
        """
        try:
            choice = await self.choice(names)
            async with self.alone():
                round = await self.begun(prompt, choice)
                yield json_text({"parts": self.parts({"answers": round.answers}, choice)}) + "\n"
                async with aclosing(round.pieces()) as pieces:
                    async for column, text in pieces:
                        yield json_text({"column": column, "text": text}) + "\n"
            shown = {"round": self.playground.keep(round), "answers": round.answers}
            yield json_text({"parts": self.parts(shown, choice)}) + "\n"
        except HTTPException as error:
            yield json_text({"error": error.detail}) + "\n"
        except PacelineError as error:
            yield json_text({"error": str(error)}) + "\n"

    async def begun(self, prompt: str, choice: Choice) -> Round:
        """A round that is being answered, its adapters loaded when they were not before."""
        await run_in_threadpool(self.playground.load)
        return self.playground.ask(prompt, choice.chosen)

    async def vote(self, request: Request) -> Response:
        given = await fields(request)
        vote = self.playground.vote(given.get("round", ""), given.get("choice", ""))
        answers = list(vote.answers.values())
        shown = {
            "prompt": vote.prompt,
            "answers": answers,
            "names": list(vote.answers),
            "chosen": vote.chosen,
        }
        return self.playing(shown, await self.choice([name for name in vote.answers if name != BASE]))

    def playing(self, shown: Mapping[str, object], choice: Choice) -> Response:
        shown = {**shown, "choice": choice, "parts": self.parts(shown, choice)}
        return self.page("playground", "/playground", shown)

    def parts(self, shown: Mapping[str, object], choice: Choice) -> dict[str, str]:
        """{id: the HTML within it} of the playground."""
        needed = votes_needed(self.playground.comparisons)
        content = {**shown, "tally": self.playground.tally(choice.chosen), "needed": needed}
        return {
            name: templates().get_template(f"part-{name}.html.jinja").render(content)
            for name in ("answers", "votes")
        }

    @asynccontextmanager
    async def alone(self) -> AsyncIterator[None]:
        """One question that computes at a time: each loads a base, or data."""
        if self.busy.locked():
            raise HTTPException(409, "another question is being answered; ask again when it is done")
        async with self.busy:
            yield

    def page(self, name: str, current: str, content: Mapping[str, object], status: int = 200) -> Response:
        shown = {**content, "current": current, "board": self.path.resolve().name}
        return HTMLResponse(templates().get_template(f"{name}.html.jinja").render(shown), status)

    def message(self, title: str, said: str, status: int = 200) -> Response:
        return self.page("message", "", {"title": title, "said": said}, status)

    async def refused(self, request: Request, error: Exception) -> Response:
        """An error as a page: one line, and the status that fits it."""
        if isinstance(error, HTTPException):
            return self.message("Not done", error.detail, error.status_code)
        return self.message("Not done", str(error), error.status if isinstance(error, RequestError) else 409)


async def fields(request: Request) -> ImmutableMultiDict[str, str]:
    """The fields of a form; one may have several values.

    Raises:
        RequestError: too large, too slow, or no form.
    """
    raw = await read_raw(request, LIMITS)
    try:
        return ImmutableMultiDict(parse_qsl(raw.decode(), keep_blank_values=True, max_num_fields=MOST_FIELDS))
    except ValueError as error:
        raise RequestError("the body is no form in UTF-8") from error


async def static(request: Request) -> Response:
    try:
        content, media_type = asset(request.path_params["name"])
    except KeyError as error:
        raise HTTPException(404, "no such file") from error
    return Response(content, media_type=media_type, headers={"Cache-Control": "private, max-age=600"})


def make_app(path: Path, token: str) -> Starlette:
    """The web application of one study, for whoever has the token, on this machine alone."""
    board = Board(path)
    routes = [
        Route("/", board.overview),
        Route("/results", board.results),
        Route("/live", board.stream),
        Route("/stop", board.stop, methods=["POST"]),
        Route("/data", board.data),
        Route("/playground", board.play),
        Route("/playground", board.ask_all, methods=["POST"]),
        Route("/playground/stream", board.say_all, methods=["POST"]),
        Route("/playground/vote", board.vote, methods=["POST"]),
        Route("/study", board.edit),
        Route("/study", board.ask, methods=["POST"]),
        Route("/static/{name}", static),
    ]

    @asynccontextmanager
    async def lifespan(app: Starlette) -> AsyncIterator[None]:
        yield
        board.playground.stop()

    return Starlette(
        routes=routes,
        lifespan=lifespan,
        exception_handlers={HTTPException: board.refused, PacelineError: board.refused},
        middleware=[
            Middleware(Guard, key=None, limits=LIMITS, under_way=UnderWay()),
            Middleware(Gate, token=token),
        ],
    )

"""Answers without names until a vote is given, which is kept; examples with what is learned of them."""

import html
import json
import re
import shutil
from pathlib import Path
from typing import Any

from board.conftest import EVIL, HOST, asking
from paceline.board import examples, playground


def test_blind_answers_get_their_names_with_the_vote(ask: Any, boarded: Path) -> None:
    asked = ask("POST", "/playground", {"prompt": f"What is 2 plus 2? {EVIL}"})
    assert asked.status_code == 200, asked.text[-500:]
    assert EVIL not in asked.text
    assert re.findall(r"<h3>(.*?)</h3>", asked.text) == ["Answer 1", "Answer 2", "Answer 3"]
    (number,) = re.findall(r'name="round" value="([^"]+)"', asked.text)
    assert ask("POST", "/playground/vote", {"round": number, "choice": "7"}).status_code == 400
    assert (
        ask("POST", "/playground/vote", {"round": number, "choice": "1"}, Origin=HOST + "0").status_code
        == 403
    )
    revealed = ask("POST", "/playground/vote", {"round": number, "choice": "1"}).text
    names = re.findall(r"<h3>(.*?)</h3>", revealed)
    assert sorted(name.removesuffix(" (your vote)") for name in names) == ["base", "faster", "plain"]
    assert names[1].endswith(" (your vote)")
    assert ask("POST", "/playground/vote", {"round": number, "choice": "1"}).status_code == 409
    kept = json.loads((boarded / "votes.jsonl").read_text().splitlines()[-1])  # other tests vote here, too
    assert kept["chosen"] == names[1].removesuffix(" (your vote)")
    assert list(kept["answers"]) == [name.removesuffix(" (your vote)") for name in names]
    assert "vote" in ask("GET", "/playground").text.split("<h2>Votes</h2>")[1]


def test_answers_come_piece_by_piece_without_names_and_can_be_voted_on(ask: Any, monkeypatch: Any) -> None:
    """Put together, the pieces are the answers of the plain form; the columns take turns."""
    monkeypatch.setattr(playground, "MOST_TOKENS", 12)
    asked = ask("POST", "/playground/stream", {"prompt": "What is 3 plus 4?"})
    first, *said, last = [json.loads(line) for line in asked.text.splitlines()]
    assert re.findall(r"<pre[^>]*>(.*?)</pre>", first["parts"]["answers"]) == ["", "", ""]
    assert 'name="choice"' not in first["parts"]["answers"]
    assert "faster" not in first["parts"]["answers"] + last["parts"]["answers"]
    assert len(said) > 3
    assert {piece["column"] for piece in said[:4]} == {0, 1, 2}
    told = ["".join(piece["text"] for piece in said if piece["column"] == column) for column in range(3)]
    assert told == answers_in(last["parts"]["answers"])
    plain = ask("POST", "/playground", {"prompt": "What is 3 plus 4?"}).text
    assert sorted(told) == sorted(answers_in(plain))
    (number,) = re.findall(r'name="round" value="([^"]+)"', last["parts"]["answers"])
    assert ask("POST", "/playground/vote", {"round": number, "choice": "0"}).status_code == 200


def test_a_stream_says_what_went_wrong(ask: Any) -> None:
    (line,) = ask("POST", "/playground/stream", {"prompt": ""}).text.splitlines()
    assert "between 1 and 20,000" in json.loads(line)["error"]


def test_one_adapter_a_recipe_answers_or_those_that_are_chosen(ask: Any, boarded: Path) -> None:
    assert ticked(ask("GET", "/playground").text) == ["plain", "faster"]
    assert ticked(ask("GET", "/playground?adapter=faster-seed43").text) == ["faster-seed43"]
    assert ask("GET", "/playground?adapter=faster-seed44").status_code == 404
    both = ["faster-seed43", "faster"]
    asked = ask("POST", "/playground", {"prompt": "What is 5 plus 1?", "adapter": both})
    assert ticked(asked.text) == ["faster", "faster-seed43"]
    (number,) = re.findall(r'name="round" value="([^"]+)"', asked.text)
    revealed = ask("POST", "/playground/vote", {"round": number, "choice": "none"}).text
    assert sorted(re.findall(r"<h3>(.*?)</h3>", revealed)) == ["base", *sorted(both)]
    assert ticked(revealed) == ["faster", "faster-seed43"]
    kept = json.loads((boarded / "votes.jsonl").read_text().splitlines()[-1])
    assert sorted(kept["identities"]) == sorted(kept["answers"]) == ["base", *sorted(both)]


def test_a_run_that_finishes_later_can_be_asked(boarded: Path, tmp_path: Path) -> None:
    folder = tmp_path / "study"
    shutil.copytree(boarded, folder)
    (folder / "faster" / "adapter").rename(tmp_path / "not yet")
    with asking(folder) as ask:
        asked = ask("POST", "/playground", {"prompt": "What is 6 plus 1?"})
        assert ticked(asked.text) == ["plain", "faster-seed43"], "the first that has finished"
        assert ask("POST", "/playground", {"prompt": "Again", "adapter": "faster"}).status_code == 404
        (tmp_path / "not yet").rename(folder / "faster" / "adapter")
        asked = ask("POST", "/playground", {"prompt": "What is 6 plus 2?", "adapter": "faster"})
        assert len(answers_in(asked.text)) == 2


def ticked(page: str) -> list[str]:
    return re.findall(r'value="([^"]+)" checked', page)


def answers_in(page: str) -> list[str]:
    return [
        html.unescape(answer) for answer in re.findall(r'<pre class="answer"[^>]*>(.*?)</pre>', page, re.S)
    ]


def test_a_prompt_without_end_and_an_empty_one_are_refused(ask: Any) -> None:
    for prompt in ("", "x" * 20_001):
        assert ask("POST", "/playground", {"prompt": prompt}).status_code == 400


def test_examples_are_marked_searched_and_paged(ask: Any, monkeypatch: Any) -> None:
    monkeypatch.setattr(examples, "SHOWN", 3)
    page = ask("GET", "/data").text
    assert re.findall(r">Example ([\d,]+) of", page) == ["1", "2", "3"]
    marked = re.findall(r"<mark>(.*?)</mark>", page.split("<h2")[1], re.S)
    assert len(marked) == 1
    assert marked[0] in ask("GET", "/data?start=1").text
    onward = re.findall(r'href="/data\?([^"]+)"', page)[0].replace("&amp;", "&")
    assert re.findall(r">Example ([\d,]+) of", ask("GET", f"/data?{onward}").text)[0] == "4"
    answer = re.sub("<.*?>", "", marked[0]).split("&lt;")[0].strip()
    found = ask("GET", f"/data?search={answer}").text
    assert all(answer in shown for shown in re.findall(r'<pre class="answer".*?</pre>', found, re.S))
    assert "None of the examples" in ask("GET", "/data?search=no+such+text+anywhere").text
    for wrong in ("start=0", "start=99999999", "start=x", "run=nobody", "run=../../etc"):
        assert ask("GET", f"/data?{wrong}").status_code in (404, 409), wrong

"""From a function to task rows: one maker for each of Strandset's categories."""

import random
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from paceline.data.rust.edits import OPTIMIZATIONS, REFACTORINGS, bugs, pick
from paceline.data.rust.items import Function, parse, text_of, walk

Fields = dict[str, str]
PLACEHOLDER = "__PLACEHOLDER__"


@dataclass(frozen=True)
class Source:
    """A function, those that stand beside it, and the generator that draws for it."""

    function: Function
    neighbours: list[Function]
    rng: random.Random

    @property
    def code(self) -> str:
        return self.function.code

    @property
    def documented(self) -> str:
        return f"{doc_comment(self.function.doc)}\n{self.code}"

    @property
    def signature(self) -> str:
        return " ".join(self.code.split("{", 1)[0].split())


Pair = tuple[Fields, Fields]
Maker = Callable[[Source], Iterator[Pair]]


def doc_comment(text: str) -> str:
    return "\n".join(f"/// {line}".rstrip() for line in text.splitlines())


def _explanation(source: Source) -> Iterator[Pair]:
    root = parse(source.code)
    kinds = {node.type for node in walk(root)}
    parameters = next((text_of(node) for node in walk(root) if node.type == "parameters"), "()")
    said = [source.function.doc.replace("\n", " "), f"`{source.function.name}` takes `{parameters}`."]
    if found := re.search(r"->\s*([^{]+?)\s*(where|\{)", source.code):
        said.append(f"It returns `{found[1]}`.")
    for kind, remark in (
        ("for_expression", "It goes through its input in a `for` loop."), ("while_expression", "It repeats its work in a `while` loop."),
        ("closure_expression", "Closures say what happens to each element."), ("match_expression", "A `match` tells the cases apart."),
        ("try_expression", "The `?` operator hands a failure on to the caller."),
    ):  # fmt: skip
        if kind in kinds:
            said.append(remark)
    yield {"code": source.code}, {"explanation": " ".join(said)}


def _summary(source: Source) -> Iterator[Pair]:
    yield {"code": source.code}, {"summary": source.function.summary}


def _docstring(source: Source) -> Iterator[Pair]:
    yield {"code": source.code}, {"docstring": doc_comment(source.function.doc)}


_REMARKS = {
    "for_expression": "Go through", "while_expression": "Repeat while", "if_expression": "Check whether", "match_expression": "Tell the cases of",
}  # fmt: skip


def _comments(source: Source) -> Iterator[Pair]:
    lines, added = source.code.split("\n"), 0
    for node in reversed([n for n in walk(parse(source.code)) if n.type in _REMARKS]):
        line = node.start_point[0]
        if not lines[line].lstrip().startswith(("for ", "while ", "if ", "match ")):
            continue
        subject = node.child_by_field_name("condition") or node.child_by_field_name("value")
        indent = lines[line][: len(lines[line]) - len(lines[line].lstrip())]
        what = " ".join(text_of(subject).split()) if subject else ""
        lines.insert(line, f"{indent}// {_REMARKS[node.type]} `{what}`.")
        added += 1
    if added:
        yield (
            {"code": source.code},
            {"commented_code": f"{doc_comment(source.function.summary)}\n" + "\n".join(lines)},
        )


def _function_name(source: Source) -> Iterator[Pair]:
    hidden = re.sub(rf"\b{re.escape(source.function.name)}\b", PLACEHOLDER, source.code)
    yield {"code": hidden}, {"function_name": source.function.name}


def _variable_name(source: Source) -> Iterator[Pair]:
    names = []
    for node in walk(parse(source.code)):
        if node.type == "let_declaration":
            pattern = node.child_by_field_name("pattern")
            names += [text_of(n) for n in walk(pattern) if n.type == "identifier"] if pattern else []
    names = sorted({name for name in names if len(name) > 2})
    for name in source.rng.sample(names, min(2, len(names))):
        yield {"code": re.sub(rf"\b{name}\b", PLACEHOLDER, source.code)}, {"variable_name": name}


def _generation(source: Source) -> Iterator[Pair]:
    title = source.function.name.replace("_", " ").capitalize()
    yield (
        {"title": title, "description": f"{source.function.doc}\nSignature: `{source.signature}`"},
        {"code": source.code},
    )


def _completion(source: Source) -> Iterator[Pair]:
    blocks = [
        node for node in walk(parse(source.code)) if node.type == "block" and node.named_child_count >= 1
    ]
    raw = source.documented
    shift = len(raw.encode()) - len(source.code.encode())
    for block in source.rng.sample(blocks, min(3, len(blocks))):
        first = source.rng.randrange(block.named_child_count)
        last = source.rng.randrange(first, min(first + 3, block.named_child_count))
        start, end = (
            block.named_children[first].start_byte + shift,
            block.named_children[last].end_byte + shift,
        )
        data = raw.encode()
        prefix, hidden, suffix = (
            part.decode(errors="replace") for part in (data[:start], data[start:end], data[end:])
        )
        yield {"prefix": prefix, "suffix": suffix}, {"completion": hidden}


def _bugs(source: Source) -> Iterator[Pair]:
    found = bugs(source.code)
    for edit in source.rng.sample(found, min(2, len(found))):
        yield (
            {"buggy_code": edit.code, "code_context": doc_comment(source.function.doc)},
            {"bug_description": edit.said, "fixed_code": source.code},
        )


def _review(source: Source) -> Iterator[Pair]:
    flaw, habit = bugs(source.code), pick(REFACTORINGS, source.code, source.rng)
    if not flaw:
        return
    edit = source.rng.choice(flaw)
    worse = pick(REFACTORINGS, edit.code, source.rng) if habit else None
    before = worse.code if worse else edit.code
    comment = edit.said + (f" Besides: {worse.said}" if worse else "")
    yield (
        {"code_before": before, "code_context": doc_comment(source.function.doc)},
        {"review_comment": comment, "code_after": source.code},
    )


def _refactoring(source: Source) -> Iterator[Pair]:
    if edit := pick(REFACTORINGS, source.code, source.rng):
        yield (
            {"code_before": edit.code, "code_context": ""},
            {"code_after": source.code, "rationale": edit.said},
        )


def _optimization(source: Source) -> Iterator[Pair]:
    if edit := pick(OPTIMIZATIONS, source.code, source.rng):
        yield (
            {"code_before": edit.code, "code_context": ""},
            {"code_after": source.code, "rationale": edit.said},
        )


def _tests(source: Source) -> Iterator[Pair]:
    if source.function.tests:
        test = "\n\n".join(source.function.tests)
        yield {"code_to_test": source.documented, "test_context": "use super::*;"}, {"test_cases": test}


def _search(source: Source) -> Iterator[Pair]:
    others = [f for f in source.neighbours if f is not source.function and len(f.code) < 700]
    if len(others) < 2 or len(source.code) > 700:
        return
    shown = [source.function, *source.rng.sample(others, 2)]
    source.rng.shuffle(shown)
    yield (
        {"query": source.function.summary, "code_context": "\n\n".join(f.code for f in shown)},
        {"code_snippet": source.code},
    )


def _api_usage(source: Source) -> Iterator[Pair]:
    calls = []
    for node in walk(parse(source.code)):
        function = node.child_by_field_name("function") if node.type == "call_expression" else None
        if function is not None and function.type in ("field_expression", "scoped_identifier"):
            calls.append(node)
    if calls:
        node = source.rng.choice(calls)
        name = node.child_by_field_name("function")
        assert name is not None
        last = name.named_children[-1]
        raw = source.code.encode()
        yield (
            {"code": raw[: last.start_byte].decode(errors="replace")},
            {"next_api_call": raw[last.start_byte : node.end_byte].decode(errors="replace")},
        )


MAKERS: dict[str, Maker] = {
    "code_explanation": _explanation, "code_summarization": _summary, "code_review": _review, "bug_detection": _bugs,
    "docstring_generation": _docstring, "comment_generation": _comments, "function_naming": _function_name, "variable_naming": _variable_name,
    "code_generation": _generation, "code_completion": _completion, "code_refactoring": _refactoring, "code_optimization": _optimization,
    "test_generation": _tests, "code_search": _search, "api_usage_prediction": _api_usage,
}  # fmt: skip

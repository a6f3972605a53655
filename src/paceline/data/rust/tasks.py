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
class FunctionInContext:
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
Maker = Callable[[FunctionInContext], Iterator[Pair]]


def doc_comment(text: str) -> str:
    return "\n".join(f"/// {line}".rstrip() for line in text.splitlines())


def _explanation(context: FunctionInContext) -> Iterator[Pair]:
    root = parse(context.code)
    kinds = {node.type for node in walk(root)}
    parameters = next((text_of(node) for node in walk(root) if node.type == "parameters"), "()")
    sentences = [context.function.doc.replace("\n", " "), f"`{context.function.name}` takes `{parameters}`."]
    if returned := re.search(r"->\s*([^{]+?)\s*(where|\{)", context.code):
        sentences.append(f"It returns `{returned[1]}`.")
    for kind, remark in (
        ("for_expression", "It goes through its input in a `for` loop."),
        ("while_expression", "It repeats its work in a `while` loop."),
        ("closure_expression", "Closures say what happens to each element."),
        ("match_expression", "A `match` tells the cases apart."),
        ("try_expression", "The `?` operator hands a failure on to the caller."),
    ):
        if kind in kinds:
            sentences.append(remark)
    yield {"code": context.code}, {"explanation": " ".join(sentences)}


def _summary(context: FunctionInContext) -> Iterator[Pair]:
    yield {"code": context.code}, {"summary": context.function.summary}


def _docstring(context: FunctionInContext) -> Iterator[Pair]:
    yield {"code": context.code}, {"docstring": doc_comment(context.function.doc)}


_REMARKS = {
    "for_expression": "Go through",
    "while_expression": "Repeat while",
    "if_expression": "Check whether",
    "match_expression": "Tell the cases of",
}


def _comments(context: FunctionInContext) -> Iterator[Pair]:
    lines, added = context.code.split("\n"), 0
    for node in reversed([n for n in walk(parse(context.code)) if n.type in _REMARKS]):
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
            {"code": context.code},
            {"commented_code": f"{doc_comment(context.function.summary)}\n" + "\n".join(lines)},
        )


def _function_name(context: FunctionInContext) -> Iterator[Pair]:
    hidden = re.sub(rf"\b{re.escape(context.function.name)}\b", PLACEHOLDER, context.code)
    yield {"code": hidden}, {"function_name": context.function.name}


def _variable_name(context: FunctionInContext) -> Iterator[Pair]:
    names = []
    for node in walk(parse(context.code)):
        if node.type == "let_declaration":
            pattern = node.child_by_field_name("pattern")
            names += [text_of(n) for n in walk(pattern) if n.type == "identifier"] if pattern else []
    names = sorted({name for name in names if len(name) > 2})
    for name in context.rng.sample(names, min(2, len(names))):
        yield {"code": re.sub(rf"\b{name}\b", PLACEHOLDER, context.code)}, {"variable_name": name}


def _generation(context: FunctionInContext) -> Iterator[Pair]:
    title = context.function.name.replace("_", " ").capitalize()
    yield (
        {"title": title, "description": f"{context.function.doc}\nSignature: `{context.signature}`"},
        {"code": context.code},
    )


def _completion(context: FunctionInContext) -> Iterator[Pair]:
    blocks = [
        node for node in walk(parse(context.code)) if node.type == "block" and node.named_child_count >= 1
    ]
    raw = context.documented
    shift = len(raw.encode()) - len(context.code.encode())
    for block in context.rng.sample(blocks, min(3, len(blocks))):
        first = context.rng.randrange(block.named_child_count)
        last = context.rng.randrange(first, min(first + 3, block.named_child_count))
        start, end = (
            block.named_children[first].start_byte + shift,
            block.named_children[last].end_byte + shift,
        )
        data = raw.encode()
        prefix, hidden, suffix = (
            part.decode(errors="replace") for part in (data[:start], data[start:end], data[end:])
        )
        yield {"prefix": prefix, "suffix": suffix}, {"completion": hidden}


def _bugs(context: FunctionInContext) -> Iterator[Pair]:
    planted = bugs(context.code)
    for edit in context.rng.sample(planted, min(2, len(planted))):
        yield (
            {"buggy_code": edit.code, "code_context": doc_comment(context.function.doc)},
            {"bug_description": edit.explanation, "fixed_code": context.code},
        )


def _review(context: FunctionInContext) -> Iterator[Pair]:
    flaw, habit = bugs(context.code), pick(REFACTORINGS, context.code, context.rng)
    if not flaw:
        return
    edit = context.rng.choice(flaw)
    worse = pick(REFACTORINGS, edit.code, context.rng) if habit else None
    before = worse.code if worse else edit.code
    comment = edit.explanation + (f" Besides: {worse.explanation}" if worse else "")
    yield (
        {"code_before": before, "code_context": doc_comment(context.function.doc)},
        {"review_comment": comment, "code_after": context.code},
    )


def _refactoring(context: FunctionInContext) -> Iterator[Pair]:
    if edit := pick(REFACTORINGS, context.code, context.rng):
        yield (
            {"code_before": edit.code, "code_context": ""},
            {"code_after": context.code, "rationale": edit.explanation},
        )


def _optimization(context: FunctionInContext) -> Iterator[Pair]:
    if edit := pick(OPTIMIZATIONS, context.code, context.rng):
        yield (
            {"code_before": edit.code, "code_context": ""},
            {"code_after": context.code, "rationale": edit.explanation},
        )


def _tests(context: FunctionInContext) -> Iterator[Pair]:
    if context.function.tests:
        test = "\n\n".join(context.function.tests)
        yield {"code_to_test": context.documented, "test_context": "use super::*;"}, {"test_cases": test}


def _search(context: FunctionInContext) -> Iterator[Pair]:
    others = [f for f in context.neighbours if f is not context.function and len(f.code) < 700]
    if len(others) < 2 or len(context.code) > 700:
        return
    shown = [context.function, *context.rng.sample(others, 2)]
    context.rng.shuffle(shown)
    yield (
        {"query": context.function.summary, "code_context": "\n\n".join(f.code for f in shown)},
        {"code_snippet": context.code},
    )


def _api_usage(context: FunctionInContext) -> Iterator[Pair]:
    calls = []
    for node in walk(parse(context.code)):
        function = node.child_by_field_name("function") if node.type == "call_expression" else None
        if function is not None and function.type in ("field_expression", "scoped_identifier"):
            calls.append(node)
    if calls:
        node = context.rng.choice(calls)
        name = node.child_by_field_name("function")
        assert name is not None
        last = name.named_children[-1]
        raw = context.code.encode()
        yield (
            {"code": raw[: last.start_byte].decode(errors="replace")},
            {"next_api_call": raw[last.start_byte : node.end_byte].decode(errors="replace")},
        )


MAKERS: dict[str, Maker] = {
    "code_explanation": _explanation,
    "code_summarization": _summary,
    "code_review": _review,
    "bug_detection": _bugs,
    "docstring_generation": _docstring,
    "comment_generation": _comments,
    "function_naming": _function_name,
    "variable_naming": _variable_name,
    "code_generation": _generation,
    "code_completion": _completion,
    "code_refactoring": _refactoring,
    "code_optimization": _optimization,
    "test_generation": _tests,
    "code_search": _search,
    "api_usage_prediction": _api_usage,
}

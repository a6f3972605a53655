"""Rust answers that are refused unread by the compiler: code that could reach behind the tests.

What a task's own code does, its answers may do as well.
"""

from __future__ import annotations

import re

from paceline.data.rust.items import parse, text_of, walk

# A string, a character or a comment: words in it are not code.
_NOT_CODE = re.compile(
    r"""//[^\n]*|b?c?r(?P<hashes>\#*)".*?"(?P=hashes)|"(?:\\.|[^"\\])*"|'(?:\\[^']+|[^'\\])'""", re.DOTALL
)
# Words that lead out of safe Rust, before `main`, or to the sources of the tests.
_WORDS = (
    "unsafe",
    "extern",
    "asm",
    "global_asm",
    "naked_asm",
    "no_mangle",
    "export_name",
    "link_section",
    "include_str",
    "include_bytes",
)
_DERIVED = re.compile(r"derive\s*\([^)]*\)")
_BOUND = re.compile(r"[:+]\s*(?:(?:::)?(?:std|core)\s*::\s*cmp\s*::\s*)?PartialEq\b(?!\s*[<!(])")
_OWN_EQUALITY = re.compile(r"\bPartialEq\s+for\s+(\w+)")
_DEFINITION = re.compile(r"\b(?:struct|enum|union|type|trait)\s+(\w+)")


def refusal(answer: str, own: str, tests: str) -> str | None:
    """Why an answer is not run; None: nothing is wrong with it.

    Args:
        own: the task's code with its reference answer in it.
        tests: the task's tests.
    """
    code, allowed = _without_text(answer), _without_text(own)
    for word in _WORDS:
        if _has(code, word) and not _has(allowed, word):
            return f"refused: it uses `{word}`, which nothing in its task does"
    if re.search(r"\binclude\s*!", code):
        return "refused: it uses `include!`"
    if "PartialEq" in code and _odd_equality(code, tests) and not _odd_equality(allowed, tests):
        return "refused: it decides by itself what the tests take for equal (PartialEq)"
    return _own_return_type(answer, own, tests)


def defined_names(code: str) -> set[str]:
    """Names that a piece of code defines or imports: types, functions, macros, modules."""
    code = _without_text(code)
    found = set(re.findall(r"\b(?:struct|enum|union|type|trait|fn|mod|const|static)\s+(\w+)", code))
    found |= set(re.findall(r"\bmacro_rules\s*!\s*(\w+)", code))
    for statement in re.findall(r"\buse\s+([^;]*);", code):
        found |= set(re.findall(r"(\w+)\s*(?=[,}]|$)", statement))
    return found


def _without_text(code: str) -> str:
    """The code with strings, characters and comments blanked."""
    code, nested = _NOT_CODE.sub(_blank, code), 1
    while nested:  # block comments nest
        code, nested = re.subn(r"/\*(?:(?!/\*|\*/).)*\*/", " ", code, flags=re.DOTALL)
    return code


def _blank(found: re.Match[str]) -> str:
    return " " if found[0].startswith("//") else '""'


def _has(code: str, word: str) -> bool:
    return re.search(rf"\b{word}\b", code) is not None


def _odd_equality(code: str, tests: str) -> bool:
    """Whether PartialEq is implemented by hand between two types, or for a type that the tests name."""
    code = _BOUND.sub(" ", _DERIVED.sub(" ", code))
    code = _OWN_EQUALITY.sub(lambda m: m[0] if _has(tests, m[1]) else " ", code)
    return "PartialEq" in code


def _own_return_type(answer: str, own: str, tests: str) -> str | None:
    """Why a function that the tests call may not return a type that only the answer knows."""
    expected, given = _return_types(own), _return_types(answer)
    new = set(_DEFINITION.findall(_without_text(answer))) - set(_DEFINITION.findall(_without_text(own)))
    for name, returned in given.items():
        if name not in expected or not _has(tests, name):
            continue
        outermost = re.match(r"[&\s]*(?:'\w+\s+)?(?:mut\s+)?(impl|dyn|(?:\w+\s*::\s*)*\w+)", returned)
        last = outermost[1].split("::")[-1].strip() if outermost else ""
        if last in new or (last == "impl" and "impl" not in expected[name]):
            return f"refused: `{name}` returns `{returned}` where its task has `{expected[name]}`"
    return None


def _return_types(code: str) -> dict[str, str]:
    found: dict[str, str] = {}
    for node in walk(parse(code)):
        name, returned = node.child_by_field_name("name"), node.child_by_field_name("return_type")
        if node.type == "function_item" and name is not None:
            found.setdefault(text_of(name), text_of(returned) if returned is not None else "()")
    return found

"""Edits of Rust code: bugs to find, and habits to mend."""

import random
import re
from collections.abc import Callable
from dataclasses import dataclass

from paceline.data.rust.items import parse, replace_node, text_of, walk


@dataclass(frozen=True)
class Edit:
    """Changed code, and what is wrong with it."""

    code: str
    explanation: str


_SWAPS = {
    "<": ("<=", "lets the bound itself through"),
    "<=": ("<", "leaves the bound itself out"),
    ">": (">=", "lets the bound itself through"),
    ">=": (">", "leaves the bound itself out"),
    "==": ("!=", "inverts the test for equality"),
    "!=": ("==", "inverts the test for inequality"),
    "+": ("-", "subtracts where it must add"),
    "-": ("+", "adds where it must subtract"),
    "*": ("+", "adds where it must multiply"),
    "/": ("*", "multiplies where it must divide"),
    "%": ("/", "divides where the remainder is needed"),
    "&&": ("||", "accepts one condition where both are needed"),
    "||": ("&&", "asks for both conditions where one is enough"),
    "..": ("..=", "runs one element too far"),
    "..=": ("..", "stops one element too early"),
}
_ASSIGN = {"+=": "-=", "-=": "+=", "*=": "+=", "/=": "*="}


def bugs(code: str) -> list[Edit]:
    """Every way to plant one bug: an operator swapped, a number off by one, a flag inverted."""
    edits = []
    for node in walk(parse(code)):
        text = text_of(node)
        if node.type in ("binary_expression", "range_expression"):
            for child in node.children:
                if child.type in _SWAPS and text_of(child) == child.type:
                    new, effect = _SWAPS[child.type]
                    wrong = " ".join(
                        replace_node(code, child, new)[
                            node.start_byte : node.end_byte + len(new) - len(child.type)
                        ].split()
                    )
                    edits.append(
                        Edit(
                            replace_node(code, child, new),
                            f"`{wrong}` uses `{new}` in place of `{child.type}`: it {effect}.",
                        )
                    )
        elif node.type == "compound_assignment_expr":
            for child in node.children:
                if child.type in _ASSIGN:
                    new = _ASSIGN[child.type]
                    edits.append(
                        Edit(
                            replace_node(code, child, new),
                            f"`{new}` is used in place of `{child.type}`, so the value moves the wrong way.",
                        )
                    )
        elif node.type == "integer_literal" and text.isdigit() and int(text) < 1000:
            new = str(int(text) + 1)
            edits.append(
                Edit(
                    replace_node(code, node, new), f"The constant `{new}` is off by one; it must be `{text}`."
                )
            )
        elif node.type == "boolean_literal":
            new = "false" if text == "true" else "true"
            edits.append(
                Edit(replace_node(code, node, new), f"The flag is `{new}` where it must be `{text}`.")
            )
    return edits


def _long_assignment(code: str) -> Edit | None:
    for node in walk(parse(code)):
        if node.type == "compound_assignment_expr":
            left, operator, right = (text_of(child) for child in node.children[:3])
            body = right if re.fullmatch(r"[\w.\[\]]+", right) else f"({right})"
            changed = replace_node(code, node, f"{left} = {left} {operator.removesuffix('=')} {body}")
            return Edit(
                changed, f"The compound assignment `{operator}` says the same without naming `{left}` twice."
            )
    return None


def _explicit_return(code: str) -> Edit | None:
    body = next((node for node in walk(parse(code)) if node.type == "block"), None)
    if body is None or len(body.named_children) == 0:
        return None
    last = body.named_children[-1]
    if last.type.endswith(("statement", "declaration", "comment")) or last.type in (
        "while_expression",
        "for_expression",
        "return_expression",
    ):
        return None
    changed = replace_node(code, last, f"return {text_of(last)};")
    return Edit(
        changed,
        "The last expression of a block is its value, so `return` is not needed at the end of a function.",
    )


def _length_test(code: str) -> Edit | None:
    call = re.search(r"(!?)([\w.]+)\.is_empty\(\)", code)
    if not call:
        return None
    operator = ">" if call[1] else "=="
    changed = code[: call.start()] + f"{call[2]}.len() {operator} 0" + code[call.end() :]
    return Edit(
        changed, "`is_empty` says what is meant; comparing the length with zero makes the reader work it out."
    )


def _substitute(pattern: str, new: str, why: str) -> Callable[[str], Edit | None]:
    def edit(code: str) -> Edit | None:
        changed = re.sub(pattern, new, code, count=1)
        return Edit(changed, why) if changed != code else None

    return edit


REFACTORINGS: tuple[Callable[[str], Edit | None], ...] = (_long_assignment, _explicit_return, _length_test)
OPTIMIZATIONS: tuple[Callable[[str], Edit | None], ...] = (
    _substitute(
        r"Vec::with_capacity\([^()]*(\([^()]*\))*[^()]*\)",
        "Vec::new()",
        "The length is known, so one allocation up front avoids growing the vector again and again.",
    ),
    _substitute(
        r"\b([a-z_]+)\.iter\(\)",
        r"\1.to_vec().iter()",
        "Iterating borrows the elements; copying the whole slice first costs an allocation for nothing.",
    ),
    _substitute(
        r"\b([a-z_]+)\.chars\(\)",
        r"\1.to_string().chars()",
        "The characters can be read from the borrowed text; the copy is wasted.",
    ),
    _substitute(
        r"\.sort_unstable\(\)",
        ".sort()",
        "Equal elements need not keep their order, and the unstable sort needs no extra memory.",
    ),
    _substitute(
        r"for (\w+) in (\w+) \{",
        r"for \1 in \2.clone() {",
        "The loop can take what it iterates over as it is; the clone is never used again.",
    ),
)


def pick(edits: tuple[Callable[[str], Edit | None], ...], code: str, rng: random.Random) -> Edit | None:
    """One of the edits that apply to the code."""
    applicable = [edit for make in edits if (edit := make(code)) is not None]
    return rng.choice(applicable) if applicable else None

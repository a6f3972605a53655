"""Functions in Rust sources, located with tree-sitter."""

import re
import textwrap
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import tree_sitter_rust
from tree_sitter import Language, Node, Parser

from paceline.errors import DataError

MAX_CODE = 2500  # characters: a longer function would not fit a training example

_LANGUAGE = Language(tree_sitter_rust.language())


@dataclass
class Function:
    """A function: its doc comment as plain text, its code from the first attribute on, its tests."""

    crate: str
    name: str
    doc: str
    code: str
    tests: list[str] = field(default_factory=list)

    @property
    def summary(self) -> str:
        """The first sentence of the documentation."""
        paragraph = self.doc.split("\n\n")[0].replace("\n", " ")
        return re.split(r"(?<=[.!?])\s+(?=[A-Z`])", paragraph, maxsplit=1)[0].strip()


def parse(code: str) -> Node:
    """The syntax tree's root. Offsets are in bytes of the UTF-8 text."""
    return Parser(_LANGUAGE).parse(code.encode()).root_node


def walk(node: Node) -> Iterator[Node]:
    """All nodes below a node, itself first, in the order of the text."""
    stack = [node]
    while stack:
        current = stack.pop()
        yield current
        stack.extend(reversed(current.children))


def text_of(node: Node) -> str:
    return (node.text or b"").decode(errors="replace")


def replace_node(code: str, node: Node, new: str) -> str:
    """The code with one node's text replaced."""
    raw = code.encode()
    return (raw[: node.start_byte] + new.encode() + raw[node.end_byte :]).decode(errors="replace")


def find_functions(folder: Path) -> list[Function]:
    """All documented functions with a body below a folder, by file, with the tests that call them."""
    files = sorted(folder.rglob("*.rs"))
    if not files:
        raise DataError(f"{folder}: no Rust source (*.rs) in this folder")
    functions: list[Function] = []
    for path in files:
        functions += _in_file(path)
    return functions


def _in_file(path: Path) -> list[Function]:
    root = parse(path.read_text(errors="replace"))
    crate = _crate_name(path)
    functions, tests = [], []
    for node in walk(root):
        if node.type != "function_item" or node.child_by_field_name("body") is None:
            continue
        attributes, doc = _before(node)
        name = text_of(node.child_by_field_name("name"))  # type: ignore[arg-type]
        code = _dedented(node)
        if any("#[test]" in attribute for attribute in attributes):
            tests.append("#[test]\n" + code)
        elif doc and len(code) <= MAX_CODE:
            functions.append(Function(crate, name, doc, code))
    for function in functions:
        function.tests = [
            test for test in tests if re.search(rf"\b{re.escape(function.name)}(::<.*?>)?\(", test)
        ]
    return functions


def _crate_name(path: Path) -> str:
    for parent in path.parents:
        manifest = parent / "Cargo.toml"
        if manifest.is_file() and (
            name := re.search(r'^name\s*=\s*"([^"]+)"', manifest.read_text(errors="replace"), re.M)
        ):
            return name[1]
    return path.parent.name


def _before(node: Node) -> tuple[list[str], str]:
    """(attributes, doc comment as plain text) that stand before an item."""
    attributes: list[str] = []
    lines: list[str] = []
    previous = node.prev_sibling
    while previous is not None and previous.type in ("line_comment", "attribute_item"):
        text = text_of(previous).rstrip("\n")
        if previous.type == "attribute_item":
            attributes.append(text)
        elif text.startswith("///"):
            lines.append(text[3:].removeprefix(" "))
        else:
            break
        previous = previous.prev_sibling
    return attributes, "\n".join(reversed(lines)).strip()


def _dedented(node: Node) -> str:
    return textwrap.dedent(" " * node.start_point[1] + text_of(node))

"""The unit tests of a Rust task as a module with a table of them, which a harness of our own runs."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass

from tree_sitter import Node

from paceline.data.rust.items import parse, text_of
from paceline.evaluate.code.rust_refusals import defined_names

# The standard macros and names that tests use: a task's tests see these, whatever an answer calls so.
_MACROS = re.findall(
    r"\w+",
    "assert assert_eq assert_ne debug_assert debug_assert_eq debug_assert_ne panic vec format print println "
    "eprint eprintln dbg write writeln matches unreachable unimplemented todo concat stringify line",
)
_PRELUDE = re.findall(
    r"\w+",
    "Option Some None Result Ok Err Vec String Box ToString ToOwned Clone Default PartialEq PartialOrd Eq "
    "Ord Iterator IntoIterator FromIterator From Into TryFrom TryInto AsRef AsMut drop",
)
_PRIMITIVES = re.findall(r"\w+", "bool char str f32 f64 i8 i16 i32 i64 i128 isize u8 u16 u32 u64 u128 usize")
_HIDDEN = re.compile(r"#\s*\[\s*(test|should_panic\b.*|ignore\b.*|cfg\s*\(\s*test\s*\))\s*\]", re.DOTALL)


@dataclass(frozen=True)
class _Test:
    """`path` is the function's in the module; `expected` is part of the message of a panic that must come."""

    path: str
    panics: bool
    expected: str
    fallible: bool

    def entry(self) -> str:
        call = f"{self.path}()"
        run = f"::std::result::Result::is_ok(&{call})" if self.fallible else f"{{ let () = {call}; true }}"
        panics = "true" if self.panics else "false"
        return f"({json.dumps(self.path)}, {panics}, {json.dumps(self.expected)}, || {run}),"


@dataclass(frozen=True)
class TestModule:
    """A module's source and how many tests its table `TESTS` has."""

    __test__ = False

    source: str
    count: int


def test_module(name: str, tests: str, own: str) -> TestModule:
    """A module `name`, to stand at a crate's root behind the code under test.

    Tests keep their names and see all of the crate's names; standard macros and names are the standard
    library's for them, but for those that the task's `own` code defines.
    """
    found: list[_Test] = []
    edits: list[tuple[int, int, str]] = []
    _visit(parse(tests), "", found, edits)
    raw = tests.encode()
    for start, end, new in sorted(edits, reverse=True):
        raw = raw[:start] + new.encode() + raw[end:]
    taken = defined_names(tests) | defined_names(own)
    macros = "\n".join(
        f"macro_rules! {macro} {{ ($($t:tt)*) => {{ ::std::{macro}!($($t)*) }} }}"
        for macro in _MACROS
        if macro not in taken
    )
    imports = [f"use ::std::prelude::rust_2021::{{{_free(_PRELUDE, taken)}}};"]
    imports += [f"use ::std::primitive::{{{_free(_PRIMITIVES, taken)}}};"]
    imports += [f"use ::{crate};" for crate in ("std", "core") if crate not in taken]
    table = "\n".join(test.entry() for test in found)
    source = (
        f"const _: () = ();\n#[allow(unused)]\npub mod {name} {{\n{macros}\nuse super::*;\n"
        + "\n".join(imports)
        + f"\n{raw.decode()}\n"
        + f"pub static TESTS: &[(&str, bool, &str, fn() -> bool)] = &[\n{table}\n];\n}}\n"
    )
    return TestModule(source, len(found))


def _free(names: list[str], taken: set[str]) -> str:
    return ", ".join(name for name in names if name not in taken)


def _visit(parent: Node, path: str, found: list[_Test], edits: list[tuple[int, int, str]]) -> None:
    """Collects tests in a list of items, makes them visible and takes off what only `--test` understands."""
    attributes: list[str] = []
    for item in parent.children:
        if item.type == "attribute_item":
            attributes.append(text_of(item))
            if _HIDDEN.fullmatch(attributes[-1]):
                edits.append((item.start_byte, item.end_byte, ""))
            continue
        if item.type in ("line_comment", "block_comment"):
            continue
        name, body = item.child_by_field_name("name"), item.child_by_field_name("body")
        own_path = f"{path}{text_of(name)}" if name is not None else path
        if item.type == "mod_item" and body is not None:
            _make_visible(item, edits)
            _visit(body, f"{own_path}::", found, edits)
        elif item.type == "function_item" and any(_is(a, "test") for a in attributes):
            _make_visible(item, edits)
            if not any(_is(a, "ignore") for a in attributes):
                found.append(_test(own_path, item, attributes))
        attributes = []


def _test(path: str, item: Node, attributes: list[str]) -> _Test:
    panics = next((a for a in attributes if _is(a, "should_panic")), "")
    expected = re.search(r'"((?:\\.|[^"\\])*)"', panics, re.DOTALL)
    returned = item.child_by_field_name("return_type")
    fallible = returned is not None and text_of(returned) != "()"
    return _Test(path, bool(panics), expected[1] if expected else "", fallible)


def _is(attribute: str, name: str) -> bool:
    return re.match(rf"#\s*\[\s*{name}\b(?!\s*::)", attribute) is not None


def _make_visible(item: Node, edits: list[tuple[int, int, str]]) -> None:
    if not any(child.type == "visibility_modifier" for child in item.children):
        edits.append((item.start_byte, item.start_byte, "pub(crate) "))

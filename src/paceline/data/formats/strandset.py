"""Strandset-Rust: rows of fifteen kinds of tasks, an instruction for each kind, fields under headings."""

import ast
from typing import Any

from paceline.data.formats.row_format import Conversation, Messages, Row, RowFormat, required
from paceline.data.text import read_json, write_json

SYSTEM = "You are an expert Rust programmer. Answer precisely and write idiomatic, safe Rust."

# task category: (what is asked, the answer's fields in the order in which they are written)
TASKS: dict[str, tuple[str, tuple[str, ...]]] = {
    "code_explanation": ("Explain what this Rust code does and how it works.", ("explanation",)),
    "code_summarization": ("Summarize this Rust code in a sentence or two.", ("summary",)),
    "code_review": (
        "Review this Rust code: name its weaknesses and give an improved version.",
        ("review_comment", "code_after"),
    ),
    "bug_detection": (
        "Find the bug in this Rust code, describe it and fix it.",
        ("bug_description", "fixed_code"),
    ),
    "docstring_generation": ("Write the doc comment for this Rust item.", ("docstring",)),
    "comment_generation": ("Add helpful inline comments to this Rust code.", ("commented_code",)),
    "function_naming": (
        "Suggest a name for the function whose name is replaced by a placeholder.",
        ("function_name",),
    ),
    "variable_naming": (
        "Suggest a name for the variable that is replaced by a placeholder.",
        ("variable_name",),
    ),
    "code_generation": ("Write the Rust code that is described.", ("code",)),
    "code_completion": ("Complete the Rust code between prefix and suffix.", ("completion",)),
    "code_refactoring": (
        "Refactor this Rust code without changing what it does, and say why.",
        ("code_after", "rationale"),
    ),
    "code_optimization": ("Make this Rust code faster or leaner, and say why.", ("code_after", "rationale")),
    "test_generation": ("Write unit tests for this Rust code.", ("test_cases",)),
    "code_search": ("Find the code in the context that answers the query.", ("code_snippet",)),
    "api_usage_prediction": ("Predict the next API call of this Rust code.", ("next_api_call",)),
}

# Fields that are fenced as Rust code.
_CODE = {
    "code",
    "code_before",
    "code_after",
    "code_context",
    "buggy_code",
    "fixed_code",
    "commented_code",
    "prefix",
    "suffix",
    "completion",
    "code_to_test",
    "test_context",
    "test_cases",
    "code_snippet",
    "next_api_call",
    "docstring",
}


def parse_fields(text: Any) -> dict[str, str]:
    """The fields in `input_data` or `output_data`, without empty ones.

    They are JSON, or the repr of a Python dict, or plain text, which is returned under the key `text`.
    """
    fields: Any = text if isinstance(text, dict) else _literal(str(text or ""))
    if not isinstance(fields, dict):
        return {"text": str(fields)} if fields else {}
    return {str(key): _text(value) for key, value in fields.items() if value not in (None, "", [], {})}


def _literal(text: str) -> Any:
    for read in (read_json, ast.literal_eval):
        try:
            return read(text)
        except (ValueError, SyntaxError, MemoryError, RecursionError):
            continue
    return text


def _text(value: Any) -> str:
    if isinstance(value, str):
        return value
    if isinstance(value, list) and all(isinstance(item, str) for item in value):
        return "\n\n".join(value)
    return write_json(value)


def to_messages(row: Row) -> Messages:
    """System, user and assistant turn of a row.

    An unknown task category gets a generic instruction made of its name.
    """
    for column in ("task_category", "input_data", "output_data"):
        required(row, column)
    task = str(row["task_category"])
    given, answer = parse_fields(row["input_data"]), parse_fields(row["output_data"])
    instruction, order = TASKS.get(task, (f"Task: {task.replace('_', ' ')}.", ()))
    keys = [key for key in order if key in answer] + [key for key in answer if key not in order]
    question = [instruction, *(_section(key, text) for key, text in given.items())]
    return [
        {"role": "system", "content": SYSTEM},
        {"role": "user", "content": "\n\n".join(question)},
        {"role": "assistant", "content": "\n\n".join(_fenced(key, answer[key]) for key in keys)},
    ]


def _section(key: str, text: str) -> str:
    return f"{key.replace('_', ' ').capitalize()}:\n{_fenced(key, text)}"


def _fenced(key: str, text: str) -> str:
    return f"```rust\n{text.strip(chr(10))}\n```" if key in _CODE and "```" not in text else text


FORMAT = RowFormat(
    "strandset",
    ("task_category", "input_data", "output_data"),
    lambda row: Conversation.of(to_messages(row)),
    lambda row: str(row["task_category"]),
)

"""Chat templates by name or file; reads no tokenizer."""

import json
from pathlib import Path

from paceline import embedded
from paceline.errors import DataError, nearest

# Chat templates that come with Paceline, by the name that `data.chat_template` may have.
TEMPLATES = {path.stem: path for path in embedded.TEMPLATES.glob("*.jinja")}

# What transformers calls the file of a chat template.
TEMPLATE = "chat_template.jinja"


def read_template(template: str) -> str:
    """The text of a chat template; a file that begins as JSON has it in `chat_template`, as older bases do.

    Raises:
        DataError: neither a file nor a name that is known; JSON without a template.
    """
    path = TEMPLATES.get(template, Path(template))
    try:
        text = path.read_text("utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(
            f"chat_template {template!r}: no such file{nearest(template, TEMPLATES)}; "
            f"by name there are {', '.join(sorted(TEMPLATES))}"
        ) from error
    if path.suffix != ".json":
        return text
    try:
        inner = json.loads(text)["chat_template"]
    except (ValueError, TypeError, KeyError, RecursionError):
        inner = None
    if not isinstance(inner, str):
        raise DataError(f"chat_template {template!r}: the JSON holds no text 'chat_template'")
    return inner


def kept_template(adapter: Path, template: str | None) -> str | None:
    """The chat template that an adapter was trained with, where it is not the base's.

    Args:
        adapter: the folder that holds its copy, if any.
        template: what its recipe names.
    """
    kept = adapter / TEMPLATE
    return str(kept) if template is not None and kept.is_file() else template

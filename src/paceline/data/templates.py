"""Chat templates by name or file; reads no tokenizer."""

from pathlib import Path

from paceline import embedded
from paceline.errors import DataError, nearest

# Chat templates that come with Paceline, by the name that `data.chat_template` may have.
TEMPLATES = {path.stem: path for path in embedded.TEMPLATES.glob("*.jinja")}


def read_template(template: str) -> str:
    """The text of a chat template.

    Raises:
        DataError: neither a file nor a name that is known.
    """
    path = TEMPLATES.get(template, Path(template))
    try:
        return path.read_text()
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(
            f"chat_template {template!r}: no such file{nearest(template, TEMPLATES)}; "
            f"by name there are {', '.join(sorted(TEMPLATES))}"
        ) from error

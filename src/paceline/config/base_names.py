"""What a base's name can be: a folder's, a hub id, or `embedded`."""

import re
from pathlib import Path

from paceline import embedded
from paceline.errors import ModelError

_HUB_ID = re.compile(r"\w[\w.-]*(/\w[\w.-]*)?", re.ASCII)


def base_path(name: str) -> str:
    """The folder or hub id of a base; `embedded` stands for the one that the package carries.

    Raises:
        ModelError: no folder there, and no name that a hub id can have: nobody need be asked for it.
    """
    if name == "embedded":
        return str(embedded.BASE)
    if not name or not (is_hub_id(name) or Path(name).is_dir()):
        there = name.startswith("~") and Path(name).expanduser().is_dir()
        what = f"; write {Path(name).expanduser()}" if there else ", and no hub id (USER/NAME)"
        raise ModelError(f"base {name!r}: no such folder{what}")
    return name


def is_hub_id(name: str) -> bool:
    """Whether a name can be that of a repository on the hub."""
    return _HUB_ID.fullmatch(name) is not None

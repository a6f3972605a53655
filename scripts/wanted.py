"""Prints what the project and the extras named need, as pip checks no hash where it is given the folder."""

import sys
import tomllib
from collections.abc import Iterable
from pathlib import Path


def wanted(extras: Iterable[str]) -> list[str]:
    """The requirements in pyproject.toml of the project and of these extras."""
    project = tomllib.loads(Path("pyproject.toml").read_text())["project"]
    return [
        *project["dependencies"],
        *(one for extra in extras for one in project["optional-dependencies"][extra]),
    ]


if __name__ == "__main__":
    print("\n".join(wanted(sys.argv[1:])))

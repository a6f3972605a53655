"""Prints the lock file: today's versions of all that CI needs, and their hashes. `make lock` runs it."""

import platform
import re
import subprocess
import sys
import tempfile
import tomllib
from pathlib import Path

from wanted import wanted

# The release that is tested. A newer one may pull a build for another device, gigabytes larger.
TORCH = "2.13.0"
EXTRAS = ("quant", "judge", "serve", "ray", "track", "figures")
INSTALLERS = ["pip", "setuptools", "setuptools-scm", "pip-tools"]
PLACE = ("3.11", "Linux", "x86_64")
HEADER = """\
# What CI installs: the versions that are tested, and the hashes of all files that the index has of them.
# Written by `make lock`; pip reads it as constraints: a package in it is installed only where it is needed.
# torch: the hashes of its builds for CPUs and for GPUs; the latter alone need cuda-*, nvidia-* and triton.
"""
COMPILE = ["--quiet", "--generate-hashes", "--allow-unsafe", "--strip-extras", "--no-header", "--no-annotate"]
COMPILE += ["--no-emit-index-url", "--no-emit-find-links", "--no-emit-trusted-host", "--output-file", "-"]


def main() -> None:
    """Resolves twice and installs nothing: with the torch that pip prefers here, and with the index's."""
    here = (".".join(platform.python_version_tuple()[:2]), platform.system(), platform.machine())
    if here != PLACE:
        raise SystemExit(f"the lock file is made on {' '.join(PLACE)}, not on {' '.join(here)}")
    tools = tomllib.loads(Path("pyproject.toml").read_text())["dependency-groups"]["dev"]
    pins = resolved([f"torch=={TORCH}", *wanted(EXTRAS), *tools, *INSTALLERS])
    # === takes no build with a tag such as +cpu
    kept = [f"{name}=={version}" for name, (version, _) in pins.items() if name != "torch"]
    for name, (version, hashes) in resolved([f"torch==={TORCH}"], kept).items():
        _, others = pins.setdefault(name, (version, set()))
        others.update(hashes)
    print(HEADER, end="")
    for name, (version, hashes) in sorted(pins.items()):
        print(" \\\n    --hash=".join([f"{name}=={version}", *sorted(hashes)]))


def resolved(roots: list[str], constraints: list[str] | None = None) -> dict[str, tuple[str, set[str]]]:
    """Name: version, without a build tag, and hashes of what pip would install."""
    with tempfile.TemporaryDirectory() as folder:
        source = Path(folder) / "wanted.in"
        pinned = Path(folder) / "pinned.txt"
        source.write_text("\n".join(roots))
        pinned.write_text("\n".join(constraints or []))
        command = [
            sys.executable,
            "-m",
            "piptools",
            "compile",
            *COMPILE,
            "--constraint",
            str(pinned),
            str(source),
        ]
        text = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True).stdout
    pins = re.findall(r"^([\w.-]+)={2,3}([^\s+]+)[^\n\\]*((?:[\s\\]+--hash=\S+)+)", text, re.MULTILINE)
    return {name: (version, set(re.findall(r"sha256:\w+", hashes))) for name, version, hashes in pins}


if __name__ == "__main__":
    main()

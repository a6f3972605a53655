"""Prints the lock file: what pip would install today for everything that CI needs. `make lock` runs it."""

import json
import platform
import subprocess
import sys

# The release that is tested. A newer one may pull a build for another device, gigabytes larger.
TORCH = "torch==2.13.0"
EXTRAS = "quant,judge,serve,ray,track,figures"
PLACE = ("3.11", "Linux", "x86_64")
HEADER = """\
# What CI installs, in the versions that are tested. Written by `make lock`; pip reads it as constraints.
# Without hashes: one torch version has builds for a CPU and for GPUs, and which of them pip takes differs
# from machine to machine.
"""


def main() -> None:
    """Resolves without installing, and prints a line a package, without build tags such as torch's +cpu."""
    here = (".".join(platform.python_version_tuple()[:2]), platform.system(), platform.machine())
    if here != PLACE:
        raise SystemExit(f"the lock file is made on {' '.join(PLACE)}, not on {' '.join(here)}")
    pip = [sys.executable, "-m", "pip", "install", "--quiet"]
    resolve = ["--dry-run", "--ignore-installed", "--report", "-"]
    wanted = [TORCH, "-e", f".[{EXTRAS}]", "--group", "dev"]
    done = subprocess.run([*pip, *resolve, *wanted], stdout=subprocess.PIPE, check=True)
    packages = [package["metadata"] for package in json.loads(done.stdout)["install"]]
    pins = {p["name"].lower().replace("_", "-"): p["version"].split("+")[0] for p in packages}
    del pins["paceline"]
    print(HEADER + "\n".join(f"{name}=={pins[name]}" for name in sorted(pins)))


if __name__ == "__main__":
    main()

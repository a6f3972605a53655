"""Looks up every package of the lock file among the known vulnerabilities. `make audit` runs it.

Where no advisory source can be reached, it says so and passes: a build must not depend on another's server.
"""

import json
import re
import subprocess
import sys
from typing import Any

# Advisory -> why it does not concern Paceline. One that is listed in vain is named, too.
ACCEPTED: dict[str, str] = {}
UNREACHED = re.compile(r"requests\.exceptions|[Cc]onnect|[Tt]imed? ?out|5\d\d Server Error")
COMMAND = ["pip_audit", "--requirement", "requirements.lock", "--disable-pip", "--format", "json"]


def main() -> None:
    """Asks pip-audit; ends with 1 for a vulnerability without a reason why it is accepted."""
    done = subprocess.run(
        [sys.executable, "-m", *COMMAND, "--progress-spinner", "off"],
        capture_output=True,
        text=True,
        check=False,
    )
    try:
        packages = json.loads(done.stdout)["dependencies"]
    except (ValueError, KeyError):
        if not UNREACHED.search(done.stderr):
            sys.exit(f"audit: pip-audit failed\n{done.stderr}")
        print("audit: not done, no advisory source can be reached")
        return
    text, sound = verdict(packages)
    print(text)
    sys.exit(0 if sound else 1)


def verdict(packages: list[dict[str, Any]]) -> tuple[str, bool]:
    """What is to be said of pip-audit's findings, and whether the build may go on."""
    known = [package for package in packages if "skip_reason" not in package]
    if not known:
        return f"audit: not done, the advisory source knows none of the {len(packages)} packages", True
    found = {fault["id"]: package for package in known for fault in package["vulns"]}
    left = [
        f"{package['name']} {package['version']}: {name}"
        for name, package in found.items()
        if name not in ACCEPTED
    ]
    lines = [f"audit: {one}" for one in left] + [
        f"audit: {name} is accepted in scripts/audit.py, but not found"
        for name in ACCEPTED
        if name not in found
    ]
    summary = f"audit: {len(known)} of {len(packages)} packages looked up, {len(left)} vulnerabilities"
    return "\n".join([*lines, summary]), not left


if __name__ == "__main__":
    main()

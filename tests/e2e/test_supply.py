"""What is installed: the lock file covers what pyproject.toml asks for, and the audit's findings decide."""

import re
import runpy
import tomllib
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).parents[2]


def test_all_that_is_asked_for_is_in_the_lock_by_hash(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(ROOT)
    text = Path("requirements.lock").read_text()
    versions = dict(re.findall(r"^([\w.-]+)==(\S+) \\\n    --hash=sha256:\w{64}", text, re.MULTILINE))
    assert len(versions) == len(re.findall(r"^[\w.-]+==", text, re.MULTILINE))
    wanted = runpy.run_path("scripts/wanted.py")["wanted"](
        ["quant", "judge", "serve", "ray", "track", "figures"]
    )
    tools = tomllib.loads(Path("pyproject.toml").read_text())["dependency-groups"]["dev"]
    for one in map(Requirement, [*wanted, *tools]):
        assert one.specifier.contains(versions[canonicalize_name(one.name)]), one


def test_a_vulnerability_ends_the_audit_unless_it_has_a_reason() -> None:
    audit = runpy.run_path(str(ROOT / "scripts" / "audit.py"))
    verdict, accepted = audit["verdict"], audit["verdict"].__globals__["ACCEPTED"]
    sound = {"name": "b", "version": "1", "vulns": []}
    found = [{"name": "a", "version": "1", "vulns": [{"id": "X-1"}]}, sound]
    text, ok = verdict(found)
    assert (ok, text.splitlines()[0]) == (False, "audit: a 1: X-1")
    accepted["X-1"] = "not reached"
    assert verdict(found)[1]
    assert "X-1 is accepted in scripts/audit.py, but not found" in verdict([sound])[0]
    unknown = {"name": "c", "version": "1", "skip_reason": "not found"}
    assert verdict([unknown])[1]
    assert "not done" in verdict([unknown])[0]

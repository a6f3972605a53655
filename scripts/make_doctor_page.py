"""Writes docs/doctor.md from the rules themselves, with each rule's precision and recall on the logged cases.

python scripts/make_doctor_page.py
"""

import textwrap
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import yaml

from paceline.doctor.finding import Rules, Subject
from paceline.doctor.log_rules import log_rules
from paceline.doctor.logs.log import Log
from paceline.doctor.logs.ours import log_of_events
from paceline.doctor.logs.read import read_log
from paceline.doctor.preflight_rules import cohort_rules, preflight_rules
from paceline.runs.events import read_events

ROOT = Path(__file__).parents[1]
CASES = ROOT / "tests" / "doctor" / "cases"
WIDTH = 100

HEAD = """# The doctor

Made by `scripts/make_doctor_page.py`; do not edit.

```console
$ paceline check doctored.yaml
$ paceline study run doctored.yaml
$ paceline doctor runs/doctored
$ paceline doctor --explain zero-gradient
```

`check` examines a study or recipe before anything is spent: the recipe, the tokenized data, and two
probe steps on the real base. Findings come worst first, each with its evidence, the rule's name and
the change to make; `--fix` writes the changed file beside the original. It exits with 1 if there
are errors. Training runs the same check before it starts and stops on an error (`--no-check` skips
it).

While a run trains, the rules over logs follow it: each finding becomes an event in its log and a
line on the terminal, and with `on_error: stop` an error ends that run alone. `doctor` reads logs
afterwards: ours, a Hugging Face `trainer_state.json` or output directory, or a console log.

```yaml
study: doctored
recipe: {base: embedded, data: {source: "embedded:rust", n: 400, clean: {}}, lr: 1e-3}
runs: [{name: only}]
```

A rule of your own, in any installed package, is a function that takes a `Log` (or, before training,
a `Preflight`) and returns a `Finding` or None. Name it as an entry point and it speaks after ours:

```toml
[project.entry-points."paceline.log_rules"]  # or paceline.preflight_rules
loss-oscillates = "my_package.rules:loss_oscillates"
```
"""

MEASURED = """## How well it judges

{cases} real runs of the embedded base, {healthy} of them healthy (`tests/doctor/make_cases.py`). Where
another fault was staged, a rule that also speaks loses precision, though it may be right: a frozen
adapter makes a flat loss, too.

| rule | cases | precision | recall |
|---|---|---|---|"""


@dataclass(frozen=True, kw_only=True)
class Case:
    """A logged run: what the doctor must say of it."""

    log: Log
    healthy: bool
    expected: set[str]

    def found(self) -> set[str]:
        """The rules that speak; a note that nobody expected is no false alarm."""
        findings = log_rules.findings(self.log)
        return {f.rule for f in findings if f.severity != "note" or f.rule in self.expected}


def read_cases() -> list[Case]:
    """All logged cases."""
    cases = []
    for name, case in yaml.safe_load((CASES / "index.yaml").read_text()).items():
        if (console := CASES / f"{name}.log").is_file():
            log = read_log(console)[0][1]
        else:
            log = log_of_events(read_events(CASES / f"{name}.jsonl"), case["batch_size"])
        cases.append(Case(log=log, healthy=case["healthy"], expected=set(case["expect"])))
    return cases


def page() -> str:
    """The whole page."""
    return "\n".join([HEAD, *_measured(read_cases()), *_explained()]).rstrip() + "\n"


def _measured(cases: list[Case]) -> Iterator[str]:
    right, found, expected = Counter[str](), Counter[str](), Counter[str]()
    for case in cases:
        found.update(case.found())
        expected.update(case.expected)
        right.update(case.found() & case.expected)
    yield MEASURED.format(cases=len(cases), healthy=sum(case.healthy for case in cases))
    for name in (rule.name for rule in log_rules):
        precision, recall = _share(right[name], found[name]), _share(right[name], expected[name])
        yield f"| {name} | {expected[name]} | {precision} | {recall} |"


def _explained() -> Iterator[str]:
    yield "\n## Before training\n"
    yield from _sections(preflight_rules)
    yield from _sections(cohort_rules)
    yield "## While a run trains, and afterwards\n"
    yield from _sections(log_rules)


def _sections(rules: Rules[Subject]) -> Iterator[str]:
    for rule in rules:
        meaning, _, details = rule.explanation.partition("\n\n")
        yield f"### {rule.name}\n\n{fill(meaning)}\n"
        for item in _items(details):
            yield fill(item, "- ", "  ")
        yield ""


def fill(text: str, first: str = "", rest: str = "") -> str:
    """Text in lines of the page's width; words with hyphens stay whole."""
    options = {"break_long_words": False, "break_on_hyphens": False}
    return textwrap.fill(text, WIDTH, initial_indent=first, subsequent_indent=rest, **options)


def _items(details: str) -> list[str]:
    """Computed, Try and Source, each in one line."""
    items: list[str] = []
    for line in details.splitlines():
        if line.startswith(("Computed:", "Try:", "Source:")):
            items.append(line)
        else:
            items[-1] += f" {line}"
    return items


def _share(part: int, whole: int) -> str:
    return f"{part / whole:.0%}" if whole else "–"


if __name__ == "__main__":
    (ROOT / "docs" / "doctor.md").write_text(page())

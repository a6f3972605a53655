"""Writes docs/doctor.md from the rules themselves, with each rule's precision and recall on the logged cases.

python scripts/make_doctor_page.py
"""

from collections.abc import Iterator
from pathlib import Path

import yaml

from paceline.doctor.log import log_of_events, read_log
from paceline.doctor.log_rules import log_rules
from paceline.doctor.preflight_rules import preflight_rules
from paceline.runs.events import read_events

ROOT = Path(__file__).parents[1]
CASES = ROOT / "tests" / "doctor" / "cases"

HEAD = """# The doctor

Made by `scripts/make_doctor_page.py`; do not edit.

```console
$ paceline check doctored.yaml
$ paceline study run doctored.yaml
$ paceline doctor runs/doctored
$ paceline doctor --explain zero-gradient
```

`check` looks at a study or recipe before anything is spent: the recipe, the tokenized data, and two probe steps on the real base. Findings come worst first, each with its
evidence, the rule's name and the change to make; `--fix` writes the changed file beside the original. Exit code 1 on errors. Training does the same at its start
(`--no-check` skips it) and does not begin on an error. While a run trains, the rules over logs follow it: a finding is an event and a line on the terminal, and with
`on_error: stop` an error ends that run alone. `doctor` reads logs afterwards: ours, a Hugging Face `trainer_state.json` or output directory, or a console log.

```yaml
study: doctored
recipe: {base: embedded, data: {source: "embedded:rust", n: 400, clean: {}}, lr: 1e-3}
runs: [{name: only}]
```
"""


def measure() -> dict[str, tuple[int, int, int]]:
    """{rule: (found where expected, found elsewhere, missed)} over all logged cases; a note on a healthy run is no false alarm."""
    counts = {rule.name: [0, 0, 0] for rule in log_rules}
    for name, case in yaml.safe_load((CASES / "index.yaml").read_text()).items():
        if (console := CASES / f"{name}.log").is_file():
            log = read_log(console)[0][1]
        else:
            log = log_of_events(read_events(CASES / f"{name}.jsonl"), case["batch_size"])
        found = {f.rule for f in log_rules.findings(log) if f.severity != "note" or f.rule in case["expect"]}
        for rule in counts:
            place = (
                0
                if rule in found and rule in case["expect"]
                else 1
                if rule in found
                else 2
                if rule in case["expect"]
                else None
            )
            if place is not None:
                counts[rule][place] += 1
    return {rule: (right, wrong, missed) for rule, (right, wrong, missed) in counts.items()}


def page() -> str:
    return "\n".join(_lines()) + "\n"


def _lines() -> Iterator[str]:
    yield HEAD
    cases = yaml.safe_load((CASES / "index.yaml").read_text())
    healthy = sum(case["healthy"] for case in cases.values())
    yield f"## How well it judges\n\n{len(cases)} real runs of the embedded base, {healthy} of them healthy (`tests/doctor/make_cases.py`). A rule that also speaks where another fault"
    yield "was staged is counted against its precision, though it may be right there: a frozen adapter makes a flat loss, too.\n"
    yield "| rule | cases | precision | recall |\n|---|---|---|---|"
    for rule, (right, wrong, missed) in measure().items():
        yield f"| {rule} | {right + missed} | {_share(right, right + wrong)} | {_share(right, right + missed)} |"
    for title, rules in (
        ("Before training", preflight_rules),
        ("While a run trains, and afterwards", log_rules),
    ):
        yield f"\n## {title}\n"
        for rule in rules:
            first, _, rest = rule.text.partition("\n\n")
            yield f"### {rule.name}\n\n{first}\n"
            yield (
                "\n".join(
                    f"- {line}" if line.startswith(("Computed", "Try", "Source")) else f"  {line}"
                    for line in rest.splitlines()
                )
                + "\n"
            )


def _share(part: int, whole: int) -> str:
    return f"{part / whole:.0%}" if whole else "–"


if __name__ == "__main__":
    (ROOT / "docs" / "doctor.md").write_text(page())

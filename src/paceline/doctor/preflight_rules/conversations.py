"""What the reader and the chat template made of the rows' conversations."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from paceline.data import notes
from paceline.doctor.finding import Finding

if TYPE_CHECKING:
    from paceline.doctor.preflight import Preflight


def template_removes_text(subject: Preflight) -> Finding | None:
    """The chat template does not write all of the text: what is left out is not learned, or not seen.

    Computed: every row's text is looked for in the text that the template makes of it, white space aside; one
    character that is not there is a warning.
    Try: another chat_template; thoughts as a field or as `<think>` text, whichever the template knows.
    Source: some templates cut thoughts out of answers, or know no system turn.
    """
    dataset = subject.prepared.dataset
    removed = dataset.column("removed")
    said = _about(subject, notes.PROMPT_SHORT, notes.NAME_NOT_WRITTEN)
    if removed.any():
        share = float((removed > 0).sum() / len(np.unique(dataset.column("row"))))
        said.insert(
            0,
            f"the template removes {removed.sum():,} characters of the assistant's text "
            f"in {share:.1%} of the rows",
        )
    if not said:
        return None
    return Finding(
        severity="warning",
        message="; ".join(said),
        evidence={"removed": int(removed.sum())},
        advice="name a template that writes all of it with data.chat_template",
    )


def prompt_does_not_begin_the_answer(subject: Preflight) -> Finding | None:
    """A generation prompt is not how the rendered answer begins: what is learned will not be asked for.

    Computed: the prompt of the turns before each answer against the text up to it; one row that differs is a
    warning.
    Try: a chat template whose generation prompt begins its answers; thoughts in the rows, where the
    prompt opens one.
    Source: templates of reasoning models open a thought in the prompt and cut it out of the answers.
    """
    said = _about(subject, notes.PROMPT_DIFFERS)
    if not said:
        return None
    return Finding(
        severity="warning", message=said[0], advice="name another template with data.chat_template"
    )


def unused_keys(subject: Preflight) -> Finding | None:
    """Turns have keys that nothing reads.

    Computed: the keys of all turns; one that is unknown is a warning.
    Try: leave it out, or rename it to what is known: weight, train, reasoning_content, tool_calls.
    Source: a key beside the text may say what must not be learned.
    """
    said = _about(subject, *(note for note in subject.prepared.dataset.notes if note.startswith("key ")))
    said = [note for note in said if notes.NAME_NOT_WRITTEN not in note]
    if not said:
        return None
    return Finding(severity="warning", message="; ".join(said), advice="leave the keys out, or rename them")


def answers_apart(subject: Preflight) -> Finding | None:
    """Answers of a row are examples of their own, not learned, or without their thoughts.

    Computed: the rows whose earlier turns the template writes otherwise than their last ones, and what
    `data.thinking` makes of them; a note. Developer turns that are written as system turns are told here too.
    Try: thinking: last for fewer tokens, every for all answers.
    Source: Qwen3's template drops earlier turns' thoughts, so no text of all turns is what inference sees.
    """
    said = _about(subject, notes.ONE_EACH, notes.LAST_ALONE, notes.THOUGHTS_LEFT_OUT, notes.DEVELOPER)
    if not said:
        return None
    return Finding(severity="note", message="; ".join(said))


def _about(subject: Preflight, *beginnings: str) -> list[str]:
    return (
        [note for note in subject.prepared.dataset.notes if note.startswith(beginnings)] if beginnings else []
    )

"""What the chat template and the mask make of the rows: which tokens are supervised."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING

import numpy as np

from paceline.doctor.finding import Finding, Value

if TYPE_CHECKING:
    from paceline.doctor.preflight import Preflight


def empty_labels(subject: Preflight) -> Finding | None:
    """Training examples without a supervised token: they cost time and teach nothing.

    Computed: the share of a sample of 300 examples with no supervised token within max_length; any at all
    is a warning, a tenth an error.
    Try: a longer max_length, the right --format, `paceline data show` to see the mask.
    Source: loss masks that cover nothing give a loss of 0 or NaN and a gradient of 0.
    """
    empty = sum(1 for _, mask in subject.sample if not mask[1:].any())
    lost = subject.prepared.facts.answers_lost / subject.prepared.facts.examples
    share = max(empty / len(subject.sample), lost)
    if share == 0 or (share < 0.01 and not empty):
        return None
    return Finding(
        severity="error" if share >= 0.1 else "warning",
        message=f"{share:.1%} of the examples lose their whole answer "
        f"to max_length {subject.recipe.max_length}",
        evidence={"share": round(share, 4)},
        fix=_longer(subject),
        advice="" if _longer(subject) else "leave such rows out, or shorten their prompts",
    )


def _longer(subject: Preflight) -> dict[str, Value]:
    """A length that 99% of the examples which lose their answer fit, if the model knows such positions."""
    dataset, length = subject.prepared.dataset, subject.recipe.max_length
    lost = dataset.lengths[dataset.first >= length]
    fits = int(np.ceil(np.percentile(lost, 99) / 64) * 64) if len(lost) else 0
    return {"max_length": fits} if length < fits <= (subject.positions or fits) else {}


def labels_everywhere(subject: Preflight) -> Finding | None:
    """The loss is on all tokens, not only on the assistant's as asked: the model learns to write questions.

    Computed: the share of sampled examples whose mask covers more than 98% of their tokens while loss_on is
    assistant; over half is a warning.
    Try: the right --format; rows whose question is a turn of its own.
    Source: what is in the loss is what is learned.
    """
    if subject.recipe.loss_on != "assistant" or subject.prepared.dataset.format == "text":
        return None  # text without turns is learned whole, as its format says
    share = float(np.mean([mask.mean() > 0.98 for _, mask in subject.sample]))
    if share <= 0.5:
        return None
    return Finding(
        severity="warning",
        message=f"in {share:.0%} of the examples every token is supervised: there is no question in them",
        evidence={"share": round(share, 3)},
    )


def no_end_of_turn(subject: Preflight) -> Finding | None:
    """No example teaches the model to stop: the end-of-turn token is not among the supervised ones.

    Computed: whether the last end-of-turn token of each sampled example that is not cut is supervised; if
    it is not in over half of them, that is an error.
    Try: a chat template that closes the assistant's turn; a base whose template does.
    Source: models fine-tuned without it run on until the limit.
    """
    chat, limit = subject.chat, subject.recipe.max_length
    ending = chat.tokenizer(chat.ending, add_special_tokens=False)["input_ids"] if chat.ending else []
    whole = [(ids, mask) for ids, mask in subject.sample if len(ids) < limit and mask.any()]
    if not whole:
        return None
    taught = [bool(ending) and bool(mask[ids == ending[-1]][-1:].any()) for ids, mask in whole]
    missing = 1 - float(np.mean(taught))
    if missing <= 0.5:
        return None
    message = f"the end-of-turn token {chat.ending!r} is not supervised in {missing:.0%} of the examples"
    return Finding(
        severity="error",
        message=message if ending else "the chat template has no end-of-turn token",
        evidence={"share": round(missing, 3)},
        advice="give the base a chat_template.jinja that closes the assistant's turn",
    )


def pad_is_end(subject: Preflight) -> Finding | None:
    """The padding token is the end-of-turn token and is masked: the model is never taught to stop.

    Computed: the tokenizer's two ids are equal and the token is unsupervised in most sampled examples.
    Paceline pads nothing, so equal ids alone do no harm.
    Try: another pad token.
    Source: the teaching guide's third common issue.
    """
    tokenizer = subject.chat.tokenizer
    if tokenizer.pad_token_id is None or tokenizer.pad_token_id != tokenizer.eos_token_id:
        return None
    taught = [bool(mask[ids == tokenizer.eos_token_id].any()) for ids, mask in subject.sample]
    share = float(np.mean(taught))
    if share > 0.5:
        return None
    return Finding(
        severity="error",
        message=f"{tokenizer.eos_token!r} both pads and ends a turn, "
        f"and is supervised in only {share:.0%} of the examples",
        evidence={"supervised": round(share, 3)},
    )


def answers_ignore_prompts(subject: Preflight) -> Finding | None:
    """One answer stands in nearly all rows, or one prompt before different answers: nothing ties the two.

    Computed: among up to 5,000 training examples, from 20 on. The commonest answer (supervised tokens) in all
    of them is an error, in over 90% a warning: a run can only learn to give it. The commonest prompt (tokens
    before the first supervised one) in over 90% is a warning where its answers differ: it does not say which.
    Several answers to one prompt among many prompts are common and no fault.
    Try: the right columns (`data.columns`), the right --format; `paceline data show` for what stands where.
    Source: cross-entropy cannot fall below the entropy of the answers given the prompts (Cover and Thomas,
    chapter 2).
    """
    pairs = subject.prompts_and_answers
    if len(pairs) < 20 or subject.recipe.loss_on != "assistant":
        return None
    share = Counter(answer for _, answer in pairs).most_common(1)[0][1] / len(pairs)
    if share > 0.9:
        return Finding(
            severity="error" if share == 1 else "warning",
            message=f"the answer is the same in {share:.0%} of {len(pairs):,} training examples",
            evidence={"share": round(share, 4)},
            advice="look at the rows: a run can only learn to give this answer",
        )
    if subject.prepared.dataset.format == "text":
        return None  # text has no prompt
    prompt, most = Counter(prompt for prompt, _ in pairs).most_common(1)[0]
    if most <= 0.9 * len(pairs):
        return None
    answers = len({answer for own, answer in pairs if own == prompt})
    return Finding(
        severity="warning",
        message=f"the prompt is the same in {most / len(pairs):.0%} of {len(pairs):,} training examples, "
        f"with {answers:,} different answers",
        evidence={"share": round(most / len(pairs), 4), "answers": answers},
        advice="look at the rows: nothing in the prompt says which answer is wanted",
    )


_MARKS = ("<|im_start|>", "[INST]", "<start_of_turn>", "<|start_header_id|>", "### Instruction:", "<|user|>")


def rendered_twice(subject: Preflight) -> Finding | None:
    """The rows already hold a chat template's marks: they are rendered twice, or with another template.

    Computed: the marks of common templates in the sampled examples, beyond the one set that the base's own
    template writes; over 5% of the examples is a warning.
    Try: rows of plain messages.
    Source: a template inside a template is not what the base was trained on.
    """
    own = subject.chat.render([{"role": "user", "content": "a"}, {"role": "assistant", "content": "b"}])
    start = own[:12]
    foreign = [mark for mark in _MARKS if mark not in own]
    nested = [
        any(mark in text for mark in foreign) or (start in _MARKS and text.count(start) > 12)
        for text in subject.texts
    ]
    share = float(np.mean(nested)) if nested else 0.0
    if share <= 0.05:
        return None
    mark = next((mark for mark in foreign if any(mark in text for text in subject.texts)), start)
    return Finding(
        severity="warning",
        message=f"{share:.0%} of the examples hold the marks of a chat template ({mark}) inside their text",
        evidence={"share": round(share, 3)},
        advice="give the rows as plain messages",
    )


def double_bos(subject: Preflight) -> Finding | None:
    """Examples begin with two beginning-of-sequence tokens: the template's, and the tokenizer's or the rows'.

    Computed: the first two ids of the sampled examples.
    Try: remove it from the rows.
    Source: models see exactly one in pretraining.
    """
    tokenizer = subject.chat.tokenizer
    bos = tokenizer.bos_token_id
    if bos is None:
        return None
    share = float(np.mean([len(ids) > 1 and ids[0] == ids[1] == bos for ids, _ in subject.sample]))
    if not share:
        return None
    return Finding(
        severity="warning",
        message=f"{share:.0%} of the examples begin with two {tokenizer.bos_token}",
        evidence={"share": round(share, 3)},
    )

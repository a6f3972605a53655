"""Rules before training. Most important first."""

from __future__ import annotations

from collections import Counter

import numpy as np

from paceline.doctor.finding import Finding, Rules, Severity
from paceline.doctor.preflight import Preflight

preflight_rules: Rules[Preflight] = Rules()


@preflight_rules
def nothing_reached(case: Preflight) -> Finding | None:
    """The loss does not reach some modules of the adapter: their B keeps a gradient of exactly zero, and they never learn.

    Computed: two optimizer steps on the real base with real rows; B's gradient after each. Rounding makes small gradients, never zeros.
    Try: remove the modules from target_modules, a base that is not quantized, labels that are not all masked.
    Source: the QLoRA post-mortem (grad_norm 0.0 throughout); the teaching guide's first common issue.
    """
    names = case.unreached
    if not names:
        return None
    kinds = sorted({name.rsplit(".", 1)[-1] for name in names})
    fix = {"quantize": "none"} if case.recipe.quantize != "none" else {}
    return Finding(
        "error",
        f"the loss does not reach {len(names)} modules ({', '.join(kinds)}; first {names[0]})",
        {"modules": len(names)},
        fix,
        "take them out of target_modules",
    )


@preflight_rules
def empty_labels(case: Preflight) -> Finding | None:
    """Training examples without a supervised token: they cost time and teach nothing.

    Computed: the share of a sample of 300 examples with no supervised token within max_length; any at all is a warning, a tenth an error.
    Try: a longer max_length, the right --format, `paceline data show` to see the mask.
    Source: loss masks that cover nothing give a loss of 0 or NaN and a gradient of 0.
    """
    empty = sum(1 for _, mask in case.sample if not mask[1:].any())
    lost = case.prepared.facts.answers_lost / case.prepared.facts.examples
    share = max(empty / len(case.sample), lost)
    if share == 0 or (share < 0.01 and not empty):
        return None
    length = int(np.percentile(case.prepared.dataset.first, 99)) + 64
    return Finding(
        "error" if share >= 0.1 else "warning",
        f"{share:.1%} of the examples lose their whole answer to max_length {case.recipe.max_length}",
        {"share": round(share, 4)},
        {"max_length": length},
    )


@preflight_rules
def labels_everywhere(case: Preflight) -> Finding | None:
    """The loss is on all tokens although only the assistant's were asked for: the model learns to write questions.

    Computed: the share of sampled examples whose mask covers more than 98% of their tokens while loss_on is assistant; over half is a warning.
    Try: the right --format; rows whose question stands in a turn of its own.
    Source: what is in the loss is what is learned.
    """
    if case.recipe.loss_on != "assistant":
        return None
    whole = float(np.mean([mask.mean() > 0.98 for _, mask in case.sample]))
    if whole <= 0.5:
        return None
    return Finding(
        "warning",
        f"in {whole:.0%} of the examples every token is supervised: there is no question in them",
        {"share": round(whole, 3)},
    )


@preflight_rules
def no_end_of_turn(case: Preflight) -> Finding | None:
    """No example teaches the model to stop: the end-of-turn token is not among the supervised ones.

    Computed: whether the last end-of-turn token of each sampled example that is not cut is supervised; not in over half is an error.
    Try: a chat template that closes the assistant's turn; a base whose template does.
    Source: models fine-tuned without it run on until the limit.
    """
    ending = (
        case.chat.tokenizer(case.chat.ending, add_special_tokens=False)["input_ids"]
        if case.chat.ending
        else []
    )
    whole = [(ids, mask) for ids, mask in case.sample if len(ids) < case.recipe.max_length and mask.any()]
    if not whole:
        return None
    ends = [bool(ending) and bool(mask[ids == ending[-1]][-1:].any()) for ids, mask in whole]
    missing = 1 - float(np.mean(ends))
    if missing <= 0.5:
        return None
    said = (
        "the chat template has no end-of-turn token"
        if not ending
        else f"the end-of-turn token {case.chat.ending!r} is not supervised in {missing:.0%} of the examples"
    )
    return Finding(
        "error",
        said,
        {"share": round(missing, 3)},
        advice="give the base a chat_template.jinja that closes the assistant's turn",
    )


@preflight_rules
def pad_is_end(case: Preflight) -> Finding | None:
    """The padding token is the end-of-turn token, and that token is masked: trainers that mask padding then never teach the model to stop.

    Computed: the tokenizer's two ids are equal and the token is unsupervised in most sampled examples. Nothing is padded here, so equal ids alone harm nothing.
    Try: another pad token.
    Source: the teaching guide's third common issue.
    """
    tokenizer = case.chat.tokenizer
    if tokenizer.pad_token_id is None or tokenizer.pad_token_id != tokenizer.eos_token_id:
        return None
    taught = float(np.mean([bool(mask[ids == tokenizer.eos_token_id].any()) for ids, mask in case.sample]))
    if taught > 0.5:
        return None
    return Finding(
        "error",
        f"{tokenizer.eos_token!r} pads and ends a turn, and is supervised in {taught:.0%} of the examples only",
        {"supervised": round(taught, 3)},
    )


_MARKS = ("<|im_start|>", "[INST]", "<start_of_turn>", "<|start_header_id|>", "### Instruction:", "<|user|>")


@preflight_rules
def rendered_twice(case: Preflight) -> Finding | None:
    """The rows' texts already hold a chat template's marks: they are rendered a second time, or with another template than the base's.

    Computed: the marks of common templates in the sampled examples beyond the one set that the base's own template writes; in over 5% it is a warning.
    Try: rows of plain messages.
    Source: a template inside a template is not what the base was trained on.
    """
    own = case.chat.render([{"role": "user", "content": "a"}, {"role": "assistant", "content": "b"}])
    foreign = [mark for mark in _MARKS if mark not in own]
    nested = [
        any(mark in text for mark in foreign) or (own[:12] in _MARKS and text.count(own[:12]) > 12)
        for text in case.texts
    ]
    share = float(np.mean(nested)) if nested else 0.0
    if share <= 0.05:
        return None
    found = next((mark for mark in foreign if any(mark in text for text in case.texts)), own[:12])
    return Finding(
        "warning",
        f"{share:.0%} of the examples hold the marks of a chat template ({found}) inside their text",
        {"share": round(share, 3)},
        advice="give the rows as plain messages",
    )


@preflight_rules
def double_bos(case: Preflight) -> Finding | None:
    """Examples begin with two beginning-of-sequence tokens: one from the template, one from the tokenizer or the rows.

    Computed: the first two ids of the sampled examples.
    Try: remove it from the rows.
    Source: models see exactly one in pretraining.
    """
    bos = case.chat.tokenizer.bos_token_id
    if bos is None:
        return None
    share = float(np.mean([len(ids) > 1 and ids[0] == ids[1] == bos for ids, _ in case.sample]))
    return (
        Finding(
            "warning",
            f"{share:.0%} of the examples begin with two {case.chat.tokenizer.bos_token}",
            {"share": round(share, 3)},
        )
        if share
        else None
    )


@preflight_rules
def too_long_for_the_model(case: Preflight) -> Finding | None:
    """max_length is more than the positions that the model knows.

    Computed: the configuration's max_position_embeddings; an error only if examples do reach beyond it.
    Try: max_length of at most that.
    Source: positions never trained give noise.
    """
    longest = int(np.minimum(case.prepared.dataset.lengths, case.recipe.max_length).max())
    if not case.positions or case.recipe.max_length <= case.positions:
        return None
    severity: Severity = "error" if longest > case.positions else "note"
    return Finding(
        severity,
        f"max_length {case.recipe.max_length} is over the model's {case.positions} positions; the longest example has {longest}",
        {"positions": case.positions, "longest": longest},
        {"max_length": case.positions},
    )


@preflight_rules
def disk_too_small(case: Preflight) -> Finding | None:
    """The disk has no room for the checkpoints and the adapter.

    Computed: adapter and moments, save_limit + 1 checkpoints at once, against the free bytes.
    Try: another --runs, a smaller save_limit.
    Source: a full disk ends a run in the middle.
    """
    if case.disk_free >= case.disk_needed:
        return None
    return Finding(
        "error",
        f"{case.disk_needed / 1e6:,.0f} MB needed, {case.disk_free / 1e6:,.0f} MB free",
        {"needed": case.disk_needed, "free": case.disk_free},
        {"save_limit": 1},
    )


@preflight_rules
def warmup_never_ends(case: Preflight) -> Finding | None:
    """The learning rate is still warming up when the run ends, or for more than half of it.

    Computed: warm-up steps against all steps: an error from all of them, a warning from half.
    Try: warmup_ratio 0.1.
    Source: the runs in the write-ups warm up over 10 to 20%.
    """
    plan = case.prepared.plan
    share = plan.warmup_steps / plan.total_steps
    if share <= 0.5 or plan.total_steps < 4:
        return None
    return Finding(
        "error" if share >= 1 else "warning",
        f"{plan.warmup_steps} of {plan.total_steps} steps warm up",
        {"share": round(share, 3)},
        {"warmup_steps": None, "warmup_ratio": 0.1},
    )


@preflight_rules
def little_coverage(case: Preflight) -> Finding | None:
    """The run will see less than half of its training data.

    Computed: steps x effective batch / training examples. Under 0.5 a warning: what a model has not seen it cannot learn.
    Try: epochs in place of max_steps.
    Source: the QLoRA post-mortem: 500 steps of 8 on 45,000 rows, 8.9%.
    """
    plan, batch = case.prepared.plan, case.recipe.effective_batch
    coverage = plan.total_steps * batch / plan.examples
    if coverage >= 0.5 or not case.recipe.max_steps:
        return None
    return Finding(
        "warning",
        f"{plan.total_steps} steps of {batch} see {coverage:.1%} of {plan.examples:,} examples",
        {"coverage": round(coverage, 4)},
        {"max_steps": plan.steps_per_epoch},
    )


@preflight_rules
def schedule_dies_early(case: Preflight) -> Finding | None:
    """For a good part of the run the learning rate will be under 1% of its peak: steps that change nothing.

    Computed: the schedule itself. A cosine to zero spends 6.4% of its steps there, a linear one 1%; over 15% is a warning.
    Try: a floor (cosine_with_min_lr, min_lr_ratio 0.1), polynomial with a lower power.
    Source: the QLoRA post-mortem, second cause.
    """
    rates = case.rates
    if len(rates) < 10 or rates.max() <= 0:
        return None
    dead = float((rates[int(rates.argmax()) :] < 0.01 * rates.max()).sum() / len(rates))
    if dead <= 0.15:
        return None
    return Finding(
        "warning",
        f"{dead:.0%} of the steps have a learning rate under 1% of its peak",
        {"share": round(dead, 3)},
        {"lr_scheduler": "cosine_with_min_lr", "min_lr_ratio": 0.1},
    )


@preflight_rules
def rate_out_of_range(case: Preflight) -> Finding | None:
    """The learning rate is far from where LoRA usually learns best.

    Computed: useful = 5e-4 x (2000 / hidden size)^p with p = 0.0775 for Qwen and 0.781 for Llama-like models, times (16 / alpha·r-scale) left out: the best rate hardly depends on the rank.
    Over ten times that is a warning, over a hundred times an error; under a hundredth a warning, under a twentieth a note.
    Try: the useful rate.
    Source: "LoRA Without Regret" (Thinking Machines, 2025): about ten times the rate of full fine-tuning, and its fit over model sizes.
    """
    useful = 5e-4 * (2000 / case.hidden_size) ** (0.0775 if "qwen" in case.model_type else 0.781)
    factor = case.recipe.lr / useful
    if 0.05 <= factor <= 10:
        return None
    severity: Severity = "error" if factor > 100 else "note" if 0.01 <= factor < 1 else "warning"
    far = f"{factor:.0f} times" if factor > 1 else f"1/{1 / factor:.0f} of"
    return Finding(
        severity,
        f"lr {case.recipe.lr:.1e} is {far} the usual {useful:.1e} for LoRA at this size",
        {"factor": round(factor, 4), "usual": useful},
        {"lr": float(f"{useful:.1g}")},
    )


@preflight_rules
def few_steps(case: Preflight) -> Finding | None:
    """The effective batch is large for the data: there will be too few updates.

    Computed: under 10 steps an epoch and under 30 in all, where at least 64 examples could give more.
    Try: a smaller effective batch (an eighth of it here), more epochs.
    Source: the five-recipe study on Rust, where four times the updates won.
    """
    plan = case.prepared.plan
    if plan.steps_per_epoch >= 10 or plan.total_steps >= 30 or plan.examples < 64 or case.recipe.max_steps:
        return None
    return Finding(
        "warning",
        f"an effective batch of {case.recipe.effective_batch} gives {plan.total_steps} steps on {plan.examples:,} examples",
        {"steps": plan.total_steps},
        {"grad_accum": max(1, case.recipe.grad_accum // 8)},
    )


@preflight_rules
def four_bits_tiny_batch(case: Preflight) -> Finding | None:
    """A 4-bit base and a small effective batch: noise on noise.

    Computed: quantize is 4-bit and the effective batch is under 16.
    Try: an effective batch of 32, or int8.
    Source: the QLoRA post-mortem, third cause (NF4, 1 x 8), and its first remedy (2 x 16).
    """
    if case.recipe.quantize in ("none", "int8") or case.recipe.effective_batch >= 16:
        return None
    return Finding(
        "warning",
        f"{case.recipe.quantize} and an effective batch of {case.recipe.effective_batch}",
        {"effective_batch": case.recipe.effective_batch},
        {"batch_size": 2, "grad_accum": 16},
    )


@preflight_rules
def half_precision(case: Preflight) -> Finding | None:
    """fp16 products without loss scaling: small gradients round to zero, large activations overflow.

    Computed: compute_dtype float16.
    Try: bfloat16, which has the range of fp32; float32 on a CPU.
    Source: arXiv:1710.03740 (mixed precision needs loss scaling in fp16).
    """
    if case.recipe.compute_dtype != "float16" or case.recipe.quantize == "none":
        return None
    better = "bfloat16" if case.device.type == "cuda" else "float32"
    return Finding(
        "note", "4-bit weights are multiplied in float16, without loss scaling", {}, {"compute_dtype": better}
    )


@preflight_rules
def odd_scale(case: Preflight) -> Finding | None:
    """The adapter's scale (alpha / r, with rsLoRA alpha / sqrt r) is far from usual.

    Computed: under 0.1 or over 16. Usual values are 1 to 2, with rsLoRA up to 8 or so.
    Try: alpha of twice the rank.
    Source: the write-ups (alpha = 2r throughout); arXiv:2312.03732 for rsLoRA.
    """
    scale = case.recipe.lora_scale
    if 0.1 <= scale <= 16:
        return None
    return Finding(
        "warning",
        f"the adapter's scale is {scale:.3g}",
        {"scale": scale},
        {"lora_alpha": 2 * case.recipe.lora_r, "use_rslora": False},
    )


@preflight_rules
def much_is_cut(case: Preflight) -> Finding | None:
    """Many examples are longer than max_length and lose their end.

    Computed: the share of examples that are cut: over 10% a warning, over 3% a note.
    Try: the length that 97% fit.
    Source: the Rust studies chose 1,024 tokens, which 96.4% of their examples fit.
    """
    share = case.prepared.facts.truncated / case.prepared.facts.examples
    if share <= 0.03:
        return None
    fits = int(np.ceil(np.percentile(case.prepared.dataset.lengths, 97) / 64) * 64)
    fix = {"max_length": min(fits, case.positions or fits)}
    return Finding(
        "warning" if share > 0.1 else "note",
        f"{share:.1%} of the examples are cut to {case.recipe.max_length} tokens",
        {"share": round(share, 4)},
        fix,
    )


@preflight_rules
def leaks(case: Preflight) -> Finding | None:
    """Training examples that copy held-out ones, nearly or exactly: the held-out loss flatters the run.

    Computed: MinHash over token 5-grams, Jaccard similarity from 0.8, among up to 5,000 examples of each side. Exact copies never stand on both sides here. From 1% of the
    held-out examples it is a warning.
    Try: data.clean.
    Source: arXiv:2107.06499 (deduplication and leaks between splits).
    """
    found = sum(count for rule, count in case.copies.items() if "leak" in rule)
    if case.recipe.data.clean is not None or found < 0.01 * len(case.prepared.split.eval) or not found:
        return None
    return Finding(
        "warning",
        f"{found} training examples copy held-out ones",
        {"leaks": found},
        {"data.clean.duplicates": "near"},
    )


@preflight_rules
def duplicates(case: Preflight) -> Finding | None:
    """Examples that stand in the training data several times: they are learned by heart.

    Computed: exact and near copies among up to 5,000 training examples; over 5% a warning.
    Try: data.clean.
    Source: arXiv:2107.06499.
    """
    found = sum(count for rule, count in case.copies.items() if "duplicate" in rule)
    share = found / min(5000, len(case.prepared.split.train))
    if case.recipe.data.clean is not None or share <= 0.05:
        return None
    return Finding(
        "warning",
        f"{share:.1%} of the training examples are copies of others",
        {"share": round(share, 4)},
        {"data.clean.duplicates": "near"},
    )


CORRELATION = 0.98
"""Correlation of two runs' per-example mean losses over the same examples: 0.97 to 0.999 between the runs of the rehearsed five-recipe study."""


@preflight_rules
def eval_too_small(case: Preflight) -> Finding | None:
    """The held-out split is too small to tell recipes apart.

    Computed: the smallest difference of eval loss that a paired comparison can call real at 95%: 1.96 x s x sqrt(2 (1 - 0.98)) / sqrt(examples), with s the spread of the base model's
    per-example mean losses, and 0.98 the correlation measured between runs of one study. Over 0.05 nats is a warning: the differences between the recipes of the Rust study were 0.001 to 0.05.
    Try: more rows, a larger eval_ratio.
    Source: the paired t interval.
    """
    losses = case.base_losses
    spread = float(np.std(losses.loss / losses.tokens, ddof=1)) if len(losses.loss) > 1 else float("inf")
    count = len(case.prepared.split.eval)
    smallest = 1.96 * spread * (2 * (1 - CORRELATION)) ** 0.5 / count**0.5
    if smallest <= 0.05:
        return None
    needed = int(np.ceil(count * (smallest / 0.02) ** 2)) if np.isfinite(smallest) else 100
    return Finding(
        "warning",
        f"{count} held-out examples tell differences of {smallest:.3f} nats and more apart; {needed:,} would tell 0.02",
        {"smallest": round(smallest, 4), "needed": needed},
        {"data.eval_ratio": min(0.5, round(2 * case.recipe.data.eval_ratio, 3))},
    )


@preflight_rules
def one_task_rules(case: Preflight) -> Finding | None:
    """One task has nearly all of the examples.

    Computed: tasks in the training examples; over 90% for the largest of at least three is a note.
    Try: a mixture with ratios, or train_tasks.
    Source: the mean over tokens hides the small tasks; the table by task shows them.
    """
    tasks = case.prepared.dataset.tasks
    counts = Counter(tasks[i] for i in case.prepared.split.train[:20_000])
    task, most = counts.most_common(1)[0]
    share = most / counts.total()
    if len(counts) < 3 or share <= 0.9:
        return None
    return Finding(
        "note",
        f"{share:.0%} of the examples are {task}, one of {len(counts)} tasks",
        {"share": round(share, 3)},
    )


@preflight_rules
def mixture_missed(case: Preflight) -> Finding | None:
    """The mixture that trains is not the one that was asked for: dropping, cutting or cleaning took more from one part.

    Computed: each part's share of the training examples against its ratio; a difference over three percentage points is a warning.
    Try: larger n, other ratios.
    Source: arithmetic.
    """
    parts = case.recipe.data.parts()
    counts = list(case.prepared.facts.train_mixture.values())
    if len(parts) < 2 or case.recipe.train_tasks:
        return None
    gaps = [count / sum(counts) - part.ratio for part, count in zip(parts, counts, strict=True)]
    worst = int(np.argmax(np.abs(gaps)))
    if abs(gaps[worst]) <= 0.03:
        return None
    return Finding(
        "warning",
        f"{list(case.prepared.facts.train_mixture)[worst]} has {gaps[worst]:+.1%} of its share",
        {"gap": round(gaps[worst], 4)},
    )


@preflight_rules
def not_the_same_bits(case: Preflight) -> Finding | None:
    """On a GPU two runs of one recipe end with slightly different weights.

    Computed: the device. On a CPU in fp32 every run repeats bit for bit, alone or together.
    Try: nothing; differences stay within the noise of a re-run.
    Source: atomics and kernel choice in CUDA libraries.
    """
    return (
        Finding("note", "a GPU does not repeat its sums in the same order; re-runs differ in the last digits")
        if case.device.type == "cuda"
        else None
    )

"""Rules before training. Reading their explanations needs no torch; what they look at does."""

from __future__ import annotations

from typing import TYPE_CHECKING

from paceline.doctor.finding import Rules
from paceline.doctor.preflight_rules.adapter import (
    adapts_the_ends,
    four_bits_tiny_batch,
    half_precision,
    nothing_reached,
    odd_scale,
)
from paceline.doctor.preflight_rules.conversations import (
    answers_apart,
    prompt_does_not_begin_the_answer,
    template_removes_text,
    unused_keys,
)
from paceline.doctor.preflight_rules.data import (
    columns_unused,
    duplicates,
    eval_too_small,
    leaks,
    mixture_missed,
    much_is_cut,
    one_task_rules,
    rows_dropped,
    too_long_for_the_model,
)
from paceline.doctor.preflight_rules.labels import (
    answers_ignore_prompts,
    double_bos,
    empty_labels,
    labels_everywhere,
    no_end_of_turn,
    pad_is_end,
    rendered_twice,
)
from paceline.doctor.preflight_rules.machine import (
    disk_too_small,
    half_without_hardware,
    memory_too_small,
    not_the_same_bits,
)
from paceline.doctor.preflight_rules.schedule import (
    few_steps,
    little_coverage,
    rate_out_of_range,
    schedule_dies_early,
    warmup_never_ends,
)

if TYPE_CHECKING:
    from paceline.doctor.preflight import Preflight
    from paceline.training.estimate import CohortEstimate

# A rule's place is its importance among findings of the same severity: what makes a run learn nothing, or
# the wrong thing, comes before what wastes a part of it, and that before what blurs its results.
preflight_rules: Rules[Preflight] = Rules(
    [
        nothing_reached,
        empty_labels,
        labels_everywhere,
        answers_ignore_prompts,
        no_end_of_turn,
        pad_is_end,
        rendered_twice,
        template_removes_text,
        prompt_does_not_begin_the_answer,
        unused_keys,
        rows_dropped,
        double_bos,
        too_long_for_the_model,
        disk_too_small,
        warmup_never_ends,
        little_coverage,
        schedule_dies_early,
        rate_out_of_range,
        few_steps,
        adapts_the_ends,
        four_bits_tiny_batch,
        half_precision,
        odd_scale,
        much_is_cut,
        leaks,
        duplicates,
        eval_too_small,
        one_task_rules,
        mixture_missed,
        answers_apart,
        columns_unused,
        half_without_hardware,
        not_the_same_bits,
    ],
    group="paceline.preflight_rules",
)

# Rules over all runs that train together.
cohort_rules: Rules[CohortEstimate] = Rules([memory_too_small], group="paceline.cohort_rules")

"""Rules over a log, while a run trains and afterwards. None of them needs torch."""

from paceline.doctor.finding import Rules
from paceline.doctor.log_rules.adapter import b_still_zero, few_layers_learn
from paceline.doctor.log_rules.evaluation import (
    accuracy_at_base,
    early_plateau,
    labels_carry_nothing,
    overfitting,
    same_eval,
    stopped_while_falling,
)
from paceline.doctor.log_rules.figures import figures_missing, lines_unread, padding, slower_and_slower
from paceline.doctor.log_rules.gradient import large_gradient, zero_gradient
from paceline.doctor.log_rules.loss import loss_above_start, loss_flat, loss_is_zero, loss_spikes, not_finite
from paceline.doctor.log_rules.schedule import dead_learning_rate, endless_warmup, low_coverage, tiny_batch
from paceline.doctor.logs.log import Log

# A rule's place is its importance among findings of the same severity: causes come before their symptoms,
# as the QLoRA post-mortem lists its own.
log_rules: Rules[Log] = Rules(
    [
        not_finite,
        loss_is_zero,
        zero_gradient,
        low_coverage,
        dead_learning_rate,
        endless_warmup,
        tiny_batch,
        same_eval,
        loss_above_start,
        loss_spikes,
        loss_flat,
        large_gradient,
        labels_carry_nothing,
        overfitting,
        early_plateau,
        accuracy_at_base,
        stopped_while_falling,
        b_still_zero,
        few_layers_learn,
        slower_and_slower,
        padding,
        figures_missing,
        lines_unread,
    ],
    group="paceline.log_rules",
)

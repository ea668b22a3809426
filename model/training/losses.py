"""What training lowers: the cross-entropies of period and periodicity."""

from __future__ import annotations

from keras import ops

from model.network import Tensor


def period_loss(period: Tensor, logits: Tensor, weight: Tensor, period_offset: int, whole_periods: bool = False) -> Tensor:
    """Returns the mean cross-entropy of the period where something repeats, a scalar.

    The target is split between the two classes nearest to the period. So the mean over the most likely classes is the period
    itself, fractions included, which counting uses.

    Args:
      period: Periods in positions, (B, V, 64); 0 where nothing repeats.
      logits: Period logits, (B, V, 64, P).
      weight: Weight of each position, (B, V, 64).
      period_offset: Period in positions of class 0.
      whole_periods: Whether the target is the nearest class alone.
    """
    last = logits.shape[-1] - 1
    place = ops.clip(period - period_offset, 0.0, float(last))
    lower = ops.minimum(ops.floor(place), float(last - 1))
    upper_share = ops.round(place - lower) if whole_periods else place - lower
    log_probabilities = ops.log_softmax(logits, axis=-1)
    index = ops.cast(lower, "int32")
    lower_log = ops.take_along_axis(log_probabilities, index[..., None], axis=-1)[..., 0]
    upper_log = ops.take_along_axis(log_probabilities, index[..., None] + 1, axis=-1)[..., 0]
    repeats = ops.cast(period > 0, logits.dtype)
    losses = -((1.0 - upper_share) * lower_log + upper_share * upper_log) * repeats
    return ops.sum(losses * weight) / (ops.sum(repeats) + 1.0)


def periodicity_loss(periodic: Tensor, logits: Tensor, weight: Tensor) -> Tensor:
    """Returns the mean over the positions of the cross-entropy of the periodicity, each times its weight, a scalar.

    Args:
      periodic: 1 where something repeats, else 0, (B, V, 64).
      logits: Periodicity logits, (B, V, 64).
      weight: Weight of each position, (B, V, 64).
    """
    return ops.mean(ops.binary_crossentropy(periodic, logits, from_logits=True) * weight)

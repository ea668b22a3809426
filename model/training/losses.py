"""What training lowers: the cross-entropies of period and periodicity, and of the vote."""

from __future__ import annotations

from keras import ops

from model.network import Tensor
from model.voting import BINS_PER_OCTAVE

_VOTE_SHARPNESS = 16.0
"""Factor of votes before the softmax: what a time step adds to a path decides as much as some of its neighbours do, too."""

_REST_VOTE = 0.2
"""Vote for rest: about the rest score of a video whose highest votes are 0.8, see `CountingOptions.peak_share`."""

_NEAR_BINS = 1.5
"""Standard deviation in bins of what counts as the right period: 4 %."""


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
    likelihoods = ops.log_softmax(logits, axis=-1)
    index = ops.cast(lower, "int32")
    lower_log = ops.take_along_axis(likelihoods, index[..., None], axis=-1)[..., 0]
    upper_log = ops.take_along_axis(likelihoods, index[..., None] + 1, axis=-1)[..., 0]
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


def vote_loss(bins: Tensor, votes: Tensor, weight: Tensor) -> Tensor:
    """Returns the mean cross-entropy of the right period, or of rest, over time steps, a scalar.

    The likelihood of each is the softmax of its vote: a period's in `votes`, and a constant one for rest. Periods count by
    octaves, so that rest is not one choice among a hundred.

    Args:
      bins: Bin of the true period, a fraction between two bins included, (num_steps,); negative at rest.
      votes: Vote of all strides for each period, (num_steps, num_bins), see `model.voting`.
      weight: Weight of each time step, (num_steps,).
    """
    distances = ops.arange(votes.shape[1], dtype=votes.dtype) - bins[:, None]
    shares = ops.exp(_VOTE_SHARPNESS * (votes - _REST_VOTE)) / BINS_PER_OCTAVE
    near = ops.sum(shares * ops.exp(-0.5 * ops.square(distances / _NEAR_BINS)), axis=1)
    total = 1.0 + ops.sum(shares, axis=1)
    right = ops.where(bins >= 0, near, ops.ones_like(near))
    return ops.sum((ops.log(total) - ops.log(right + 1e-9)) * weight) / ops.sum(weight)

"""Movements of the drawn person: six clips' exercises, rests and walks.

Lengths are metres, with x to the right and y up from the floor. Times are seconds.
"""

from __future__ import annotations

import bisect
import dataclasses
from collections.abc import Callable

import numpy as np

from demo import figure
from demo.figure import ANKLE_HEIGHT_M, ARM_M, STANDING_HIPS_M, Stance, blend, point


@dataclasses.dataclass(frozen=True)
class Repetitions:
    """Timing of the repetitions of a movement.

    Attributes:
      borders_sec: (count + 1,) start of each repetition and end of the last one, in seconds.
      shares: Shares of a repetition spent going, holding, coming back and resting. Their sum is 1.
    """

    borders_sec: tuple[float, ...]
    shares: tuple[float, float, float, float]

    def effort(self, time_sec: float) -> float:
        """Returns how far the movement has gone: 0 at rest, 1 at its far end."""
        index = bisect.bisect_right(self.borders_sec, time_sec) - 1
        if index < 0 or index >= len(self.borders_sec) - 1:
            return 0.0
        start, end = self.borders_sec[index : index + 2]
        corners = np.cumsum((0.0, *self.shares))
        return _ease(float(np.interp((time_sec - start) / (end - start), corners, (0.0, 1.0, 1.0, 0.0, 0.0))))

    @property
    def end_sec(self) -> float:
        """End of the last repetition, in seconds."""
        return self.borders_sec[-1]


def repetitions(
    rng: np.random.Generator,
    count: int,
    period_sec: float,
    shares: tuple[float, float, float, float] = (0.42, 0.06, 0.38, 0.14),
) -> Repetitions:
    """Returns repetitions whose tempo drifts by up to ±10 % around the period, as that of people does."""
    knots = rng.uniform(-0.1, 0.1, 4)
    drift = np.interp(np.linspace(0, 3, count), np.arange(4), knots)
    borders = 0.3 + np.concatenate([[0.0], np.cumsum(period_sec * (1 + drift))])
    return Repetitions(tuple(borders.tolist()), shares)


Movement = Callable[[float], Stance]
"""Returns the stance of the person at a time in seconds."""


def push_ups(rng: np.random.Generator) -> Movement:
    """Returns eight push-ups, seen from the side. The straight body turns about the toes."""
    beat = repetitions(rng, 8, 1.25)
    toes, body_m = point(-0.78, 0.13), 1.35
    hand = point(-0.78 + body_m * np.cos(np.radians(20.5)) + 0.03, 0.04)

    def stance(time_sec: float) -> Stance:
        effort = beat.effort(time_sec)
        angle = np.radians(20.5 - 16.5 * effort)
        along = point(np.cos(angle), np.sin(angle))
        hips = toes + 0.865 * along + point(0.0, 0.02)
        lean_deg = 90.0 - float(np.degrees(angle))
        return Stance(
            hips, lean_deg, (hand + point(0.05, 0.015), hand), (toes + point(0.03, 0.01), toes), 82.0, 0.9, -14.0 + 8.0 * effort
        )

    return stance


def squats(rng: np.random.Generator) -> Movement:
    """Returns six deep squats, seen from the side. The arms rise in front for balance."""
    beat = repetitions(rng, 6, 1.75, shares=(0.40, 0.10, 0.36, 0.14))

    def stance(time_sec: float) -> Stance:
        effort = beat.effort(time_sec)
        hips = point(-0.31 * effort, STANDING_HIPS_M - 0.50 * effort)
        lean_deg = 2.0 + 38.0 * effort
        shoulders = figure.shoulders_of(hips, lean_deg)
        raised = np.radians(12.0 + 80.0 * effort)
        hand = shoulders + 0.97 * ARM_M * point(np.sin(raised), -np.cos(raised))
        feet = (point(0.05, ANKLE_HEIGHT_M + 0.015), point(0.0, ANKLE_HEIGHT_M))
        return Stance(hips, lean_deg, (hand + point(0.02, 0.02), hand), feet, 0.0, 0.95, -16.0 * effort)

    return stance


def jumping_jacks(rng: np.random.Generator) -> Movement:
    """Returns nine jumping jacks, seen from the front, with a hop each time the legs open or close."""
    beat = repetitions(rng, 9, 0.92, shares=(0.40, 0.10, 0.40, 0.10))

    def stance(time_sec: float) -> Stance:
        effort = beat.effort(time_sec)
        hop = 0.09 * 4 * effort * (1 - effort)
        spread = 0.09 + 0.36 * effort
        leg_m = STANDING_HIPS_M - ANKLE_HEIGHT_M
        hips = point(0.0, ANKLE_HEIGHT_M + float(np.sqrt(leg_m**2 - (spread - 0.085) ** 2)) + hop)
        angle = np.radians(12.0 + 153.0 * effort)
        shoulders = figure.shoulders_of(hips, 0.0)
        hands = [
            shoulders + point(side * (0.185 + 0.98 * ARM_M * np.sin(angle)), -0.98 * ARM_M * np.cos(angle)) for side in (-1, 1)
        ]
        feet = [point(side * spread, ANKLE_HEIGHT_M + hop) for side in (-1, 1)]
        return Stance(hips, 0.0, (hands[0], hands[1]), (feet[0], feet[1]), 35.0 * min(1.0, hop / 0.05), 0.0)

    return stance


def overhead_press(rng: np.random.Generator) -> Movement:
    """Returns seven presses of a barbell from the shoulders to overhead, seen from the front."""
    beat = repetitions(rng, 7, 1.4, shares=(0.36, 0.12, 0.38, 0.14))

    def stance(time_sec: float) -> Stance:
        effort = beat.effort(time_sec)
        hips = point(0.0, STANDING_HIPS_M - 0.015 - 0.02 * np.sin(np.pi * effort))
        shoulders = figure.shoulders_of(hips, 0.0)
        bar = shoulders + point(0.0, 0.03 + 0.54 * effort)
        feet = (point(-0.17, ANKLE_HEIGHT_M), point(0.17, ANKLE_HEIGHT_M))
        return Stance(hips, 0.0, (bar - point(0.27, 0.0), bar + point(0.27, 0.0)), feet, 0.0, 0.0, bar=bar)

    return stance


def toe_touches_then_rest(rng: np.random.Generator) -> Movement:
    """Returns five toe touches from overhead, seen from the side. Then the person steps back and looks around."""
    beat = repetitions(rng, 5, 1.25, shares=(0.42, 0.08, 0.40, 0.10))
    standing = _standing(0.0)

    def touch(effort: float) -> Stance:
        hips = standing.hips + point(-0.20 * effort, -0.05 * effort)
        lean_deg = 1.0 + 106.0 * effort
        raised = np.radians(172.0 - 190.0 * effort)
        hand = figure.shoulders_of(hips, lean_deg) + 0.97 * ARM_M * point(np.sin(raised), -np.cos(raised))
        return dataclasses.replace(standing, hips=hips, lean_deg=lean_deg, hands=(hand + point(0.03, 0.0), hand))

    back = _standing(-0.34)
    forehead = _holding(back, hand=point(0.20, 0.27), nod_deg=14.0)
    rest = _Script(
        (
            (0.0, touch(0.0)),
            (0.7, standing),
            (0.9, standing),
            (1.3, _stepping(standing, back)),
            (1.7, back),
            (2.2, back),
            (2.9, forehead),
            (3.35, dataclasses.replace(forehead, hands=(forehead.hands[0], forehead.hands[1] - point(0.05, 0.015)))),
            (4.1, _holding(back, hand=point(0.06, -0.50), nod_deg=18.0)),
            (4.9, _holding(back, hand=point(0.02, -0.52), nod_deg=-4.0, gaze=0.25)),
            (5.6, _holding(back, hand=point(0.0, -0.54), nod_deg=4.0, gaze=0.8)),
        )
    )
    sway = _Sway(rng)

    def stance(time_sec: float) -> Stance:
        if time_sec < beat.end_sec:
            return touch(beat.effort(time_sec))
        since_sec = time_sec - beat.end_sec
        return sway.applied(rest.at(since_sec), time_sec, min(1.0, since_sec / 0.5))

    return stance


def no_repetition(rng: np.random.Generator) -> Movement:
    """Returns a person who walks in, scratches the head, looks around, reaches to the floor once and stands up again."""
    here = _standing(0.12)
    steps = ((0.0, -1.15), (0.62, -0.72), (1.18, -0.27), (1.83, 0.12))
    script: list[tuple[float, Stance]] = []
    for number, (time_sec, x_m) in enumerate(steps):
        stride_m = 0.0 if number == len(steps) - 1 else 0.24
        ahead = stride_m if number % 2 else -stride_m
        base = _standing(x_m)
        walking = dataclasses.replace(
            base,
            hips=base.hips - point(0.0, 0.03 if stride_m else 0.0),
            feet=(base.feet[0] + point(ahead, 0.0), base.feet[1] - point(ahead, 0.0)),
            hands=(base.hands[0] - point(ahead * 0.9, -0.03), base.hands[1] + point(ahead * 0.9, 0.03)),
        )
        if script:
            script.append((time_sec - 0.28, _stepping(script[-1][1], walking, lifted=number % 2)))
        script.append((time_sec, walking))
    floor = dataclasses.replace(
        here,
        hips=here.hips + point(-0.20, -0.34),
        lean_deg=62.0,
        hands=(here.feet[0] + point(0.10, 0.36), here.feet[1] + point(0.34, 0.12)),
        nod_deg=-10.0,
    )
    script += [
        (2.5, here),
        (3.2, _holding(here, hand=point(0.10, 0.36), nod_deg=8.0)),
        (3.75, _holding(here, hand=point(0.07, 0.37), nod_deg=12.0, gaze=0.6)),
        (4.6, _holding(here, hand=point(0.08, -0.55), gaze=-0.2)),
        (5.5, _holding(here, hand=point(0.07, -0.56), nod_deg=-6.0, gaze=-0.5)),
        (6.3, _holding(here, hand=point(0.08, -0.55), gaze=0.9)),
        (7.2, floor),
        (7.6, floor),
        (8.5, _holding(here, hand=point(0.30, -0.20), nod_deg=20.0)),
        (10.0, _holding(here, hand=point(0.27, -0.18), nod_deg=24.0, gaze=0.8)),
    ]
    walk, sway = _Script(tuple(script)), _Sway(rng)
    return lambda time_sec: sway.applied(walk.at(time_sec), time_sec, min(1.0, time_sec / 2.0))


def _ease(share: float) -> float:
    """Returns the progress (0..1) of a minimum-jerk movement at a share (0..1) of its time."""
    return share**3 * (10.0 - 15.0 * share + 6.0 * share**2)


def wander(rng: np.random.Generator, times_sec: np.ndarray, size: float) -> np.ndarray:
    """Returns a slow random curve of about ±`size`, with a knot every 0.7 s and no period."""
    knots = np.arange(-1.4, times_sec[-1] + 2.1, 0.7)
    values = rng.normal(0.0, size * 0.6, len(knots))
    fine = np.interp(np.arange(knots[0], knots[-1], 0.02), knots, values)
    smooth = np.convolve(fine, np.hanning(71) / np.hanning(71).sum(), "same")
    return np.interp(times_sec, np.arange(knots[0], knots[-1], 0.02), smooth)


@dataclasses.dataclass(frozen=True)
class _Script:
    """Stances at times in seconds. The person moves smoothly from one to the next and stays in the last one."""

    lines: tuple[tuple[float, Stance], ...]

    def at(self, since_sec: float) -> Stance:
        index = bisect.bisect_right([line[0] for line in self.lines], since_sec) - 1
        if index + 1 >= len(self.lines):
            return self.lines[-1][1]
        (start, first), (end, second) = self.lines[max(index, 0) : max(index, 0) + 2]
        return blend(first, second, _ease((max(since_sec, start) - start) / (end - start)))


class _Sway:
    """Small random movements of a standing person, without a period: breath and balance."""

    def __init__(self, rng: np.random.Generator) -> None:
        self._times_sec = np.arange(0.0, 16.0, 0.05)
        self._curves = [wander(rng, self._times_sec, size) for size in (0.012, 0.004, 1.2, 0.02)]

    def applied(self, stance: Stance, time_sec: float, strength: float) -> Stance:
        across, up, lean_deg, hand = (strength * float(np.interp(time_sec, self._times_sec, curve)) for curve in self._curves)
        near = stance.hands[1] + point(across + hand, up - 0.5 * hand)
        return dataclasses.replace(
            stance,
            hips=stance.hips + point(across, min(up, 0.0)),
            lean_deg=stance.lean_deg + lean_deg,
            hands=(stance.hands[0] + point(across, up), near),
        )


def _standing(x_m: float) -> Stance:
    """Returns a person standing at ease, seen from the side, facing right."""
    hips = point(x_m, STANDING_HIPS_M - 0.005)
    shoulders = figure.shoulders_of(hips, 1.0)
    hands = (shoulders + point(0.10, -0.585), shoulders + point(0.05, -0.59))
    feet = (point(x_m + 0.07, ANKLE_HEIGHT_M + 0.015), point(x_m - 0.03, ANKLE_HEIGHT_M))
    return Stance(hips, 1.0, hands, feet, 0.0, 0.9)


def _holding(stance: Stance, hand: np.ndarray, nod_deg: float = 0.0, gaze: float = 0.9) -> Stance:
    """Returns the stance with the near hand at a position relative to the shoulder, and the head turned."""
    return dataclasses.replace(stance, hands=(stance.hands[0], stance.shoulders + hand), nod_deg=nod_deg, gaze=gaze)


def _stepping(start: Stance, end: Stance, lifted: int = 1) -> Stance:
    """Returns the middle of a step: half-way between two stances, with one foot (0 far, 1 near) lifted."""
    middle = blend(start, end, 0.5)
    feet = list(middle.feet)
    feet[lifted] = feet[lifted] + point(0.0, 0.09)
    return dataclasses.replace(middle, feet=(feet[0], feet[1]))

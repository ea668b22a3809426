"""Frame times: from what a container stores to seconds since the first frame, and which frames to keep. Pure Python."""

from __future__ import annotations

import collections
import math
import statistics

from model.sampling import DEFAULT_FPS, EARLY_SHARE, RATE_TOLERANCE, USUAL_STEPS

_PLAUSIBLE_FPS = (1.0, 500.0)
"""Range of believable frame rates in a header. Beyond it is a clock's resolution: WebM from browsers claims 1000 fps."""

_RESTART_STEPS = 100
"""Usual steps below which no step is a restart, so that slide shows and time lapses keep their times."""


class PresentationClock:
    """Turns the times in a container into times that start at 0 and always increase.

    Frames arrive in display order, so a time that does not increase is wrong. AVI stores no display times, and with B-frames
    the last one is missing. In files joined from several recordings, the times start over. A stream recorded after a
    reconnection may jump by hours. A frame with a wrong time is placed one step after the previous frame. That step is the
    header's or the usual one, whichever is shorter: correct times soon catch up with a short step, but not with a long one.

    Attributes:
      num_frames: Number of frames seen.
      first_sec: Time of the first frame in the container, in seconds.
      last_sec: Time of the last frame, in seconds since the first.
      has_restarted: True if the container's clock started over or jumped.
    """

    def __init__(self, nominal_fps: float, restart_sec: float) -> None:
        """Creates a clock that has seen no frame.

        Args:
          nominal_fps: Frame rate to assume until times are known; 30 is used instead of an implausible value.
          restart_sec: Step in seconds, forwards or backwards, above which the container's clock is taken to have started over.
            The step must also be 100 times the usual one. A shorter step forwards is a pause.
        """
        slowest, fastest = _PLAUSIBLE_FPS
        self._is_plausible = slowest <= nominal_fps <= fastest
        self._nominal_step_sec = 1 / (nominal_fps if self._is_plausible else DEFAULT_FPS)
        self._declared_step_sec = 1 / nominal_fps if 0 < nominal_fps < slowest else self._nominal_step_sec
        self._recent_steps_sec: collections.deque[float] = collections.deque(maxlen=USUAL_STEPS)
        self._restart_sec = restart_sec
        self._origin_sec = 0.0
        self._shortest_step_sec = math.inf
        self._longest_step_sec = 0.0
        self.num_frames = 0
        self.first_sec = 0.0
        self.last_sec = 0.0
        self.has_restarted = False

    def present(self, container_sec: float | None) -> float:
        """Returns the time of the next frame in seconds since the first, given its container time or None if it has none."""
        self.num_frames += 1
        if self.num_frames == 1:
            self.first_sec = self._origin_sec = container_sec or 0.0
            return 0.0
        time_sec = self.last_sec if container_sec is None else container_sec - self._origin_sec
        step_sec = time_sec - self.last_sec
        restarts = abs(step_sec) > self._restart_sec and abs(step_sec) > _RESTART_STEPS * self._usual_step_sec()
        if step_sec > 0 and not restarts:
            self._recent_steps_sec.append(step_sec)
        else:
            guessed_sec = self._guess_step_sec()
            if restarts:
                self.has_restarted = True
                self._origin_sec += step_sec - guessed_sec
            step_sec = guessed_sec
            time_sec = self.last_sec + step_sec
        self._shortest_step_sec = min(self._shortest_step_sec, step_sec)
        self._longest_step_sec = max(self._longest_step_sec, step_sec)
        self.last_sec = time_sec
        return time_sec

    def _usual_step_sec(self) -> float:
        """Returns the median of the last steps; the step that the header declares if there is none yet."""
        return statistics.median(self._recent_steps_sec) if self._recent_steps_sec else self._declared_step_sec

    def _guess_step_sec(self) -> float:
        """Returns the step to a frame whose time is wrong or missing."""
        if not self._recent_steps_sec:
            return self._nominal_step_sec
        usual_step_sec = self._usual_step_sec()
        return min(usual_step_sec, self._nominal_step_sec) if self._is_plausible else usual_step_sec

    @property
    def start_sec(self) -> float:
        """Time in the container, in seconds, of what is second 0 at present; it changes when the container's clock restarts."""
        return self._origin_sec

    @property
    def mean_step_sec(self) -> float:
        """Mean seconds from one frame to the next."""
        return self.last_sec / (self.num_frames - 1) if self.num_frames > 1 else self._nominal_step_sec

    @property
    def last_step_sec(self) -> float:
        """Seconds that the last frame is taken to last: the usual step, since a pause makes the mean one longer."""
        return self._usual_step_sec() if self._recent_steps_sec else self._nominal_step_sec

    @property
    def is_variable(self) -> bool:
        """True if steps differ by more than half a mean step."""
        return self._longest_step_sec - self._shortest_step_sec > self.mean_step_sec / 2


class FrameSampler:
    """Selects at most `max_fps` frames per second, on average and with 5 % tolerance.

    The next frame is due one step after the last one kept. It may be a quarter of a step early, since cameras do not keep
    exact time, but an early frame does not make the following ones due earlier. At a limit of 30 fps, this keeps every frame
    of a video of up to 31.5 fps, and every second frame at 60 fps.
    """

    def __init__(self, max_fps: float) -> None:
        self._step_sec = 1 / (max_fps * RATE_TOLERANCE)
        self._due_sec = 0.0

    def keeps(self, time_sec: float) -> bool:
        """Returns whether to keep the next frame, given its time in seconds."""
        if time_sec < self._due_sec - EARLY_SHARE * self._step_sec:
            return False
        self._due_sec = max(self._due_sec, time_sec) + self._step_sec
        return True

"""Other processes draw groups of clips, in order and in bounded memory, and end with their parent."""

import dataclasses
import itertools
import os
import signal
import subprocess
import sys
import time

import numpy as np
import pytest

from model.training.clips import draw_batch
from model.training.processes import draw_groups
from tests.support.training import SETTINGS

FIRST_SEED = 30_000_000


def assert_same(batch, expected):
    for field in dataclasses.fields(expected):
        np.testing.assert_array_equal(getattr(batch, field.name), getattr(expected, field.name), err_msg=field.name)


def test_groups_are_those_of_their_numbers_in_the_order_asked_for(drawn):
    for number, batch in zip((5, 2, 7), draw_groups([5, 2, 7], SETTINGS, (), workers=1), strict=True):
        assert_same(batch, draw_batch(FIRST_SEED + number, 1, SETTINGS.views_per_clip))
    assert drawn == [5, 2, 7]


def test_only_a_few_groups_are_drawn_in_advance(drawn):
    groups = draw_groups(itertools.count(), SETTINGS, (), workers=2)
    for taken in range(1, 4):
        next(groups)
        assert len(drawn) == taken + 3  # two for each process are drawn, or wait to be taken
    groups.close()


def test_photographs_and_parts_left_out_reach_the_clips(drawn):
    settings = dataclasses.replace(SETTINGS, without="camera,damage,edits")
    pictures = [np.random.default_rng(0).integers(0, 256, (80, 80, 3), np.uint8)]
    batch = next(draw_groups([4], settings, pictures, workers=1))
    assert_same(batch, draw_batch(FIRST_SEED + 4, 1, SETTINGS.views_per_clip, settings.parts_left_out, pictures))


@pytest.mark.slow
def test_processes_draw_what_this_one_would():
    settings = dataclasses.replace(SETTINGS, group_clips=2)
    for number, batch in enumerate(draw_groups(range(5), settings, (), workers=2)):
        assert_same(batch, draw_batch(FIRST_SEED + 2 * number, 2, SETTINGS.views_per_clip))


_PARENT = """
import itertools, multiprocessing
from model.training.processes import draw_groups
from tests.support.training import SETTINGS

if __name__ == "__main__":
    groups = draw_groups(itertools.count(), SETTINGS, (), workers=1)
    next(groups)
    print(*[child.pid for child in multiprocessing.active_children()], flush=True)
    input()
"""


@pytest.mark.slow
def test_drawing_processes_end_with_a_parent_that_is_killed(tmp_path):
    (tmp_path / "parent.py").write_text(_PARENT)
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, [os.getcwd(), os.environ.get("PYTHONPATH")]))}
    command = [sys.executable, str(tmp_path / "parent.py")]
    with subprocess.Popen(command, env=environment, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as parent:
        children = [int(word) for word in parent.stdout.readline().split()]
        assert children
        os.kill(parent.pid, signal.SIGKILL)
        parent.wait()
    while any(os.path.exists(f"/proc/{child}") for child in children):
        time.sleep(0.05)

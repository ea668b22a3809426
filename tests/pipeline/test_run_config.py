"""Beam's options are checked before a run, and the runner is the one inside this process unless another is named."""

import pytest

from pipeline.command_line import UsageError
from pipeline.run_config import LOCAL_RUNNER, is_local_run, make_pipeline_options


def test_the_runner_is_the_one_inside_this_process_unless_another_is_named():
    assert make_pipeline_options([]).get_all_options()["runner"] == LOCAL_RUNNER
    assert make_pipeline_options(["--runner=DirectRunner"]).get_all_options()["runner"] == "DirectRunner"


def test_beams_options_take_hyphens_and_underscores():
    for word in ("--direct-num-workers=2", "--direct_num_workers=2"):
        assert make_pipeline_options([word]).get_all_options()["direct_num_workers"] == 2


def test_an_option_that_nobody_has_gets_a_suggestion():
    with pytest.raises(UsageError, match=r"neither repcount nor Beam has the option --regoin\. .* Did you mean --region\?"):
        make_pipeline_options(["--regoin=x"])


@pytest.mark.parametrize(
    ("word", "near"),
    [("--slises=3", "--slices"), ("--max-fsp", "--max_fps"), ("--runer=x", "--runner")],
)
def test_an_option_of_the_command_is_suggested_unless_one_of_beam_is_nearer(word, near):
    with pytest.raises(UsageError, match=rf"Did you mean {near}\?$"):
        make_pipeline_options([word], ["--slices", "--max_fps", "--runtime"])


def test_a_name_that_is_near_to_nothing_gets_no_suggestion():
    with pytest.raises(UsageError, match=r"Received: --image\.$"):
        make_pipeline_options(["--image"], ["--slices", "--max_sec"])


def test_a_value_that_beam_refuses_is_one_line():
    with pytest.raises(UsageError, match=r"Beam refuses an option: .*direct_num_workers"):
        make_pipeline_options(["--direct_num_workers=many"])


@pytest.mark.parametrize(("runner", "is_local"), [("FnApiRunner", True), ("DirectRunner", True), ("DataflowRunner", False)])
def test_workers_of_some_runners_are_on_this_machine(runner, is_local):
    assert is_local_run(make_pipeline_options([f"--runner={runner}"])) == is_local

"""A run in slices keeps what is done and accounts for every video, and why a run failed is one line."""

import contextlib
import dataclasses
import gc
import os
import time

import apache_beam as beam
import pytest
from apache_beam.runners.portability.fn_api_runner.execution import ListBuffer
from apache_beam.runners.portability.fn_api_runner.fn_runner import FnApiRunner
from apache_beam.runners.portability.fn_api_runner.worker_handlers import StateServicer

from pipeline import execute
from pipeline.execute import RunOutcome
from pipeline.graph import make_attempts
from pipeline.local_workers import WorkerLostError
from pipeline.run_config import make_pipeline_options
from tests.support.runs import make_config, rows
from tests.support.scorers import FakeScorer
from tests.support.videos import draw_video
from tests.support.warehouses import read
from transforms.evidence import ChunkEvidence
from transforms.inference import RepNetModelHandler
from transforms.machine_faults import MachineFaultError
from transforms.objects import list_objects
from transforms.records import ChunkScores, Failure, VideoCount, VideoRef, slice_hash, slice_number
from transforms.warehouse.duckdb_warehouse import DuckDBWarehouse
from transforms.warehouse.rows import RunTotals

HANDLER = RepNetModelHandler(FakeScorer)

OF_A_JOB = (VideoRef, ChunkScores, ChunkEvidence, VideoCount, Failure, beam.Pipeline, FnApiRunner, StateServicer, ListBuffer)
"""What holds videos while a job runs: our records, and Beam's runner with the buffers and the state of a shuffle."""

FAULT = "scoring 'a.mp4' met a fault of the machine, not of the video: InternalError: the GPU is lost"

STEP = " [while running 'Score/Score/BeamML_RunInference']"

TRACE = f"""Traceback (most recent call last):
  File "transforms/scoring.py", line 85, in score_or_fail
tensorflow.python.framework.errors_impl.InternalError: the GPU is lost

The above exception was the direct cause of the following exception:

transforms.machine_faults.MachineFaultError: {FAULT}{STEP}

"""

TOTALS = RunTotals(listed=4, counted=3, failed=1, skipped=0, scored_frames=100, video_sec=2.5)


@pytest.fixture
def folder(tmp_path):
    """Thirty empty files: enough for some in each of three slices."""
    for number in range(30):
        (tmp_path / f"{number}.mp4").touch()
    return tmp_path


def run(config, **options):
    return execute.execute(config, make_pipeline_options([]), HANDLER, **options)


@pytest.fixture
def jobs(monkeypatch):
    """Replaces jobs: each notes its run id, and ends with the outcome that `jobs.results` has for its number."""

    class Jobs:
        started = ()
        results = {}  # noqa: RUF012

        def run(self, config, options, handler, provenance, listing, whole):
            self.started += (provenance.run_id,)
            number = config.source.selection.part.number
            result = self.results.get(number, TOTALS)
            if isinstance(result, BaseException):
                raise result
            if isinstance(result, str):
                return RunOutcome(provenance.run_id, None, result)
            return RunOutcome(provenance.run_id, result, stage_secs={"decode": 1.5}, left=2)

        @property
        def numbers(self):
            return [int(run_id.split("-")[-1].partition("of")[0]) for run_id in self.started]

    jobs = Jobs()
    monkeypatch.setattr(execute, "_run_to_end", jobs.run)
    return jobs


@pytest.fixture
def five(monkeypatch, folder):
    """A run in five slices with videos in each."""
    plan = execute.Plan((), (4, 4, 4, 4, 4))
    monkeypatch.setattr(execute, "make_plan", lambda config, options, provenance: plan)
    return make_config(folder, slices=5)


def test_slices_leave_the_rows_and_totals_of_a_run_without_them(folder):
    whole = run(make_config(folder, slices=1))
    expected = rows(f"{folder}/counts.duckdb")
    config = dataclasses.replace(make_config(folder, slices=3), warehouse=DuckDBWarehouse(f"{folder}/sliced.duckdb"))
    outcome = run(config)
    assert rows(f"{folder}/sliced.duckdb") == expected
    assert (whole.problem, outcome.problem) == ("", "")
    assert outcome.totals == whole.totals
    assert whole.slice_ids == ()
    assert outcome.slice_ids == tuple(f"{outcome.run_id}-{number}of3" for number in (1, 2, 3))
    in_runs = read(config.warehouse, "run_id, listed - counted - failed - skipped, listed", "runs")
    assert [(run_id, lost) for run_id, lost, _ in in_runs] == [(run_id, 0) for run_id in outcome.slice_ids]
    assert sum(listed for *_, listed in in_runs) == outcome.totals.listed == 30
    assert sorted(path.name for path in folder.iterdir() if path.suffix != ".mp4") == ["counts.duckdb", "sliced.duckdb"]


@pytest.mark.slow
def test_the_listing_of_all_slices_is_kept_before_each(folder, monkeypatch):
    ages_sec, run_to_end = [], execute._run_to_end

    def spy(*arguments):
        (listing,) = (path for path in folder.glob("counts.duckdb.staging-*") if not path.name.endswith("of3"))
        ages_sec.append(time.time() - listing.stat().st_mtime)
        outcome = run_to_end(*arguments)
        os.utime(listing, (0, 0))  # as after a slice that took long
        return outcome

    monkeypatch.setattr(execute, "_run_to_end", spy)
    assert run(make_config(folder, slices=3)).problem == ""
    assert len(ages_sec) == 3
    assert max(ages_sec) < 3600


def num_held():
    """Returns the number of objects in memory that hold videos."""
    return sum(issubclass(type(thing), OF_A_JOB) for thing in gc.get_objects())


@pytest.mark.slow
def test_nothing_of_a_slice_is_in_memory_when_the_next_one_starts(folder, monkeypatch):
    draw_video(folder / "counted.mp4", 150)
    counts, run_to_end = [], execute._run_to_end

    def spy(*arguments):
        counts.append(num_held())
        outcome = run_to_end(*arguments)
        counts.append(num_held())
        return outcome

    gc.collect()
    before = num_held()
    monkeypatch.setattr(execute, "_run_to_end", spy)
    gc.disable()  # else it may collect by chance
    try:
        outcome = run(make_config(folder, slices=3))
    finally:
        gc.enable()
    assert (outcome.totals.counted, outcome.totals.failed) == (1, 30)
    at_starts, at_ends = counts[::2], counts[1::2]
    assert min(at_ends) > before  # what is looked for is found
    assert max(at_starts[1:]) <= before


@pytest.mark.slow
def test_a_slice_with_nothing_to_do_starts_no_job_and_is_on_record(folder, monkeypatch):
    config = make_config(folder, slices=3)
    first = run(config)
    (folder / "new.mp4").touch()
    (folder / "newer.mp4").touch()
    (folder / "newest.mp4").touch()
    started = []
    run_to_end = execute._run_to_end

    def spy(config, *rest):
        started.append(config.source.selection.part.number)
        return run_to_end(config, *rest)

    monkeypatch.setattr(execute, "_run_to_end", spy)
    new = [video for video in list_objects(f"{folder}/*.mp4") if "new" in video.uri]
    outcome = run(config)
    assert started == sorted({slice_number(slice_hash(video), 3) for video in new})
    assert len(outcome.slice_ids) == 3
    assert outcome.totals == RunTotals(33, 0, 3, first.totals.listed, 0, 0.0)
    assert outcome.totals.is_balanced


def test_a_slice_that_fails_does_not_stop_the_next_ones(five, jobs):
    jobs.results = {2: "run r-2of5 failed: a worker died"}
    outcome = run(five)
    assert jobs.numbers == [1, 2, 3, 4, 5]
    assert outcome.totals == RunTotals(16, 12, 4, 0, 400, 10.0)
    assert outcome.problem == (
        "run r-2of5 failed: a worker died; 1 slices are not in the table `runs`, and the next run counts what is missing"
    )
    assert outcome.stage_secs == {"decode": 6.0}
    assert outcome.left == 8


def test_slices_whose_row_cannot_be_read_are_not_said_to_be_missing(five, jobs, monkeypatch):
    run_job = jobs.run

    def run_unread(config, *rest):
        outcome = run_job(config, *rest)
        is_second = config.source.selection.part.number == 2
        return dataclasses.replace(outcome, totals=None, unreadable="the file is busy") if is_second else outcome

    monkeypatch.setattr(execute, "_run_to_end", run_unread)
    assert "1 slices may not be in the table `runs`, which cannot be read: the file is busy" in run(five).problem


@pytest.mark.parametrize(("mode", "calls"), [("multi_processing", 1), ("in_memory", 0)])
@pytest.mark.slow
def test_only_a_process_that_leaves_scoring_to_workers_gives_large_blocks_back(five, jobs, monkeypatch, mode, calls):
    called = []
    monkeypatch.setattr(execute, "give_large_blocks_back", lambda: called.append(True))
    options = make_pipeline_options(["--direct_running_mode", mode, "--direct_num_workers", "2"])
    execute.execute(five, options, HANDLER)
    assert len(called) == calls


def test_two_slices_that_fail_in_a_row_end_the_run(five, jobs):
    jobs.results = {2: "one failed", 3: "two failed"}
    outcome = run(five)
    assert jobs.numbers == [1, 2, 3]
    assert outcome.problem.startswith("one failed; two failed; 2 of 5 slices were not started; 4 slices are not in")
    assert outcome.totals == TOTALS


def test_too_many_failures_in_a_slice_do_not_end_the_run(five, jobs, monkeypatch):
    run_job = jobs.run
    monkeypatch.setattr(
        execute, "_run_to_end", lambda *args: dataclasses.replace(run_job(*args), problem="9 of 10 videos failed")
    )
    outcome = run(five)
    assert len(outcome.slice_ids) == 5
    assert outcome.problem == "; ".join(["9 of 10 videos failed"] * 5)


def test_no_slice_is_started_once_the_hours_are_over(five, jobs, monkeypatch):
    clock = time.monotonic()
    monkeypatch.setattr(execute.time, "monotonic", lambda: clock + 3600 * len(jobs.started))
    outcome = run(five, max_hours=2.0)
    assert jobs.numbers == [1, 2]
    assert outcome.problem == (
        "3 of 5 slices were not started; 3 slices are not in the table `runs`, and the next run counts what is missing"
    )


@pytest.mark.slow
def test_an_interrupt_keeps_the_slices_that_are_done(folder, monkeypatch):
    config = make_config(folder, slices=3)
    run_to_end = execute._run_to_end

    def interrupt(config, *rest):
        if config.source.selection.part.number == 3:
            raise KeyboardInterrupt
        return run_to_end(config, *rest)

    monkeypatch.setattr(execute, "_run_to_end", interrupt)
    with pytest.raises(KeyboardInterrupt):
        run(config)
    ids = [run_id for (run_id,) in read(config.warehouse, "run_id", "runs")]
    assert [run_id.split("-")[-1] for run_id in ids] == ["1of3", "2of3"]
    assert len(rows(config.warehouse.path)["failures"]) > 0
    assert [path.name for path in folder.iterdir() if path.suffix != ".mp4"] == ["counts.duckdb"]


def test_a_listing_that_fails_is_the_outcome_of_the_run(folder, monkeypatch):
    def fail(config, options, provenance):
        raise OSError("the network is down")

    monkeypatch.setattr(execute, "make_plan", fail)
    outcome = run(make_config(folder))
    assert outcome.totals is None
    assert "failed: " in outcome.problem
    assert "the network is down" in outcome.problem


@pytest.mark.parametrize(
    ("error", "kept"),
    [
        (MachineFaultError("no space"), False),
        (KeyboardInterrupt(), False),
        (WorkerLostError("a worker process died"), True),
        (RuntimeError("in Beam"), True),
    ],
)
def test_only_a_worker_that_died_leaves_a_note_of_what_it_had_in_flight(folder, monkeypatch, error, kept):
    def build(pipeline, config, provenance, *rest):
        make_attempts(config, provenance)._write(1, ["0" * 16])
        raise error from (WorkerLostError("a worker process died") if str(error) == "in Beam" else None)

    monkeypatch.setattr(execute, "build_pipeline", build)
    config = make_config(folder)
    with pytest.raises(KeyboardInterrupt) if isinstance(error, KeyboardInterrupt) else contextlib.nullcontext():
        run(config)
    assert os.path.exists(config.warehouse.attempts_folder) is kept


def raised_by_a_step():
    """Returns the error that Beam makes of one in a step: it has the same type, names the step, and follows the original."""
    error = MachineFaultError(FAULT + STEP)
    error.__context__ = MachineFaultError(FAULT)
    return error


@pytest.mark.parametrize("error", [raised_by_a_step(), RuntimeError(TRACE)], ids=["in this process", "in another one"])
def test_a_machine_that_fails_is_named_in_one_line_with_what_becomes_of_its_videos(error):
    assert execute._reason(error) == f"{FAULT}; no video counts as failed, and the next run takes them up again"


def test_another_error_is_named_with_its_type():
    assert execute._reason(ValueError("a\nmistake")) == "ValueError: a mistake"

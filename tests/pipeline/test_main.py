"""`repcount` prints its help, and one line with exit code 2 for a mistake."""

import importlib.metadata
import logging
import os
import subprocess
import sys

import pytest

from model.errors import UserError
from pipeline import main
from transforms.machine_faults import MachineFaultError


@pytest.mark.parametrize(
    "command",
    [
        [],
        ["run"],
        ["count"],
        ["evaluate"],
        ["model"],
        ["model", "fetch"],
        ["model", "verify"],
        ["delete"],
        ["serve"],
        ["view"],
        ["report"],
        ["export"],
    ],
)
def test_every_command_explains_itself(command, capsys):
    with pytest.raises(SystemExit) as stop:
        main.main([*command, "--help"])
    assert stop.value.code == 0
    assert capsys.readouterr().out.startswith("usage: repcount")


@pytest.mark.parametrize(
    "arguments", [[], ["dance"], ["count"], ["count", "a.mp4", "--no_such"], ["model"], ["run", "--show", "x"]]
)
def test_a_mistake_is_one_line_on_standard_error(arguments, capsys):
    with pytest.raises(SystemExit) as stop:
        main.main(arguments)
    assert stop.value.code == 2
    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err.count("\n") == 1
    assert captured.err.startswith("repcount")


HEAVY = ("apache_beam", "tensorflow", "keras", "matplotlib", "google.auth", "duckdb", "fastapi", "pyarrow", "uvicorn")


@pytest.mark.parametrize(
    "words",
    [
        ["--help"],
        ["--version"],
        ["count", "--help"],
        ["run", "--help"],
        ["serve", "--help"],
        ["view", "--help"],
        ["report", "--help"],
        ["export", "--help"],
        ["count", "x", "--no_such"],
    ],
)
def test_help_does_not_import_what_takes_long(words):
    code = f"""
import sys
from pipeline.main import main
try:
    main({words})
except SystemExit:
    print([name for name in {HEAVY} if name in sys.modules], file=sys.stderr)
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stderr.splitlines()[-1] == "[]"


def test_the_version_is_that_of_the_package(capsys):
    with pytest.raises(SystemExit) as stop:
        main.main(["--version"])
    assert stop.value.code == 0
    assert capsys.readouterr().out == f"repcount {importlib.metadata.version('repcount')}\n"


def test_python_runs_the_package_as_the_command():
    done = subprocess.run([sys.executable, "-m", "pipeline", "--version"], capture_output=True, text=True, check=True)
    assert done.stdout.startswith("repcount ")


@pytest.mark.parametrize(
    ("words", "hint"),
    [
        (["cuont", "x.mp4"], "Did you mean count?"),
        (["model", "ftech"], "Did you mean fetch?"),
        (["count", "x.mp4", "--max-pfs", "15"], "Did you mean --max_fps instead of --max-pfs?"),
        (["run", "--input", "x", "--output", "duckdb:x", "--project", "p", "--limit", "0"], "See repcount run --help."),
        (["run", "--input", "x", "--output", "duckdb:x", "y", "z"], "Received besides: y z"),
        (["run", "--inptu", "x", "--output", "duckdb:x"], "Did you mean --input instead of --inptu?"),
        (["run", "--input", "x", "--output", "duckdb:x", "--runer=x"], "Did you mean --runner?"),
        (["run", "--input", "x", "--output", "duckdb:x", "--slises", "3"], "Received: --slises 3. Did you mean --slices?"),
        (["run", "--input", "x", "--output", "duckdb:x", "--location", "EU"], "Received: --location EU."),
        (["run", "videos", "--output", "duckdb:x"], "required: --input. Did you mean --input videos?"),
    ],
)
def test_a_misspelled_name_gets_a_suggestion(words, hint, capsys):
    try:
        code = main.main(words)
    except SystemExit as stop:
        code = stop.code
    assert code == 2
    assert capsys.readouterr().err.rstrip().endswith(hint)


def test_options_take_hyphens_and_underscores():
    spelled = [main.parse(["count", "x", f"--max{sign}fps=15", f"--batch{sign}frames", "8"]) for sign in "-_"]
    assert spelled[0] == spelled[1]
    assert (spelled[0].max_fps, spelled[0].batch_frames) == (15.0, 8)


def test_a_tilde_that_the_shell_leaves_is_the_home(monkeypatch):
    monkeypatch.setenv("HOME", "/home/ann")
    words = ["count", "~/a.mp4", "b~/c.mp4", "--output_dir=~/out", "--plot", "~/d.png", "--model=./~/m"]
    args = main.parse(words)
    assert args.videos == ["/home/ann/a.mp4", "b~/c.mp4"]
    assert (args.output_dir, args.plot, args.model) == ("/home/ann/out", "/home/ann/d.png", "./~/m")
    assert main.parse(["tables", "--output=duckdb:~/c.duckdb"]).output == "duckdb:/home/ann/c.duckdb"


@pytest.mark.usefixtures("no_home")
def test_a_tilde_without_a_home_is_a_mistake(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    assert main.main(["tables", "--output", "~/c.duckdb"]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert line == (
        "repcount: a path that begins with ~ needs a home folder: set HOME, or use another path. Received: '~/c.duckdb'"
    )
    assert not list(tmp_path.iterdir())


def test_former_names_of_options_and_commands_still_work():
    assert main.parse(["count", "x", "--frames_at_once", "8"]).batch_frames == 8
    assert main.parse(["forget", "--output", "duckdb:x", "--uri", "a"]).command == "forget"


@pytest.mark.parametrize(("words", "level"), [([], "WARNING"), (["-v"], "INFO"), (["-q"], "ERROR")])
@pytest.mark.parametrize("place", [0, 1])
def test_verbose_and_quiet_work_before_and_after_the_command(words, level, place, monkeypatch, capsys):
    line = ["count", "no_such_file.mp4"]
    assert main.main([*line[:place], *words, *line[place:]]) == 2
    assert logging.getLevelName(logging.getLogger().level) == level


def test_completion_knows_commands_and_options(tmp_path):
    def complete(line):
        code = "from pipeline.main import main; main()"
        env = {"_ARGCOMPLETE": "1", "COMP_LINE": line, "COMP_POINT": str(len(line)), "_ARGCOMPLETE_STDOUT_FILENAME": str(out)}
        subprocess.run([sys.executable, "-c", code], env={**os.environ, **env}, check=False)
        return out.read_text().replace("\x0b", "\n").split()

    out = tmp_path / "completions"
    assert "count" in complete("repcount co")
    assert "--max_fps" in complete("repcount count --max_f")


@pytest.fixture(autouse=True)
def log_level():
    """Puts back the log level, which `main` sets."""
    level = logging.getLogger().level
    yield
    logging.getLogger().setLevel(level)


@pytest.mark.parametrize("command", [["count", "x.mp4"], ["run", "--input", "x.mp4", "--output", "duckdb:c.duckdb"]])
def test_no_folder_for_temporary_files_is_one_line_before_anything_is_written(command, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("tempfile.tempdir", None)
    monkeypatch.setattr("tempfile._candidate_tempdir_list", lambda: ["/nowhere"])
    assert main.main(command) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert (
        "set TMPDIR to a writable folder with free space for temporary files. Received: No usable temporary directory" in line
    )
    assert not list(tmp_path.iterdir())


def in_ascii(*words):
    """Runs the program where Python reads names of files as ASCII."""
    environment = {**os.environ, "LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}
    words = [sys.executable, "-m", "pipeline", *words]
    return subprocess.run(words, env=environment, capture_output=True, text=True, check=False)


def test_names_of_files_that_are_not_read_as_utf_8_are_a_mistake(tmp_path):
    finished = in_ascii("run", "--input", tmp_path, "--output", f"duckdb:{tmp_path}/c.duckdb")
    assert (finished.returncode, finished.stdout) == (2, "")
    (line,) = finished.stderr.splitlines()
    assert line.startswith("repcount run: names of files must be read as UTF-8: set PYTHONUTF8=1")
    assert line.endswith("Received: ascii")
    assert not list(tmp_path.iterdir())
    assert in_ascii("--version").returncode == 0


@pytest.mark.parametrize(
    "words",
    [
        ["run", "--output", "duckdb:c.duckdb", "--input"],
        ["run", "--input", "x.mp4", "--output"],
        ["count"],
        ["count", "x.mp4", "--model"],
        ["count", "x.mp4", "--max_fps"],
        ["evaluate", "--videos", ".", "--labels"],
        ["report", "--output"],
        ["serve", "--base"],
        ["serve", "--token_file"],
        ["cost", "--no_such"],
    ],
)
def test_no_message_repeats_a_password_or_a_signature(words, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "x.mp4").touch()
    try:
        code = main.main([*words, "https://ann:PASSWORD@host.invalid/v.mp4?X-Goog-Signature=SIGNED&token=TOKEN"])
    except SystemExit as stop:
        code = stop.code
    error = capsys.readouterr().err
    assert code == 2
    assert "https://…@host.invalid/v.mp4?…" in error
    assert not [secret for secret in ("PASSWORD", "SIGNED", "TOKEN") if secret in error]
    assert list(tmp_path.iterdir()) == [tmp_path / "x.mp4"]


def test_an_error_of_the_system_is_one_line(monkeypatch, capsys):
    def fail(args):
        raise OSError(28, "No space left on device", "counts\n.csv")

    monkeypatch.setattr("pipeline.commands.tables.run", fail)
    assert main.main(["tables", "--output", "duckdb:c.duckdb"]) == 1
    assert capsys.readouterr().err == "repcount tables: [Errno 28] No space left on device: 'counts\\n.csv'\n"


@pytest.mark.parametrize(
    "command",
    [["count", "x.mp4"], ["run", "--input", "x.mp4", "--output", "duckdb:c.duckdb"], ["report", "--output", "c.duckdb"]],
)
def test_a_current_folder_that_was_deleted_is_named(command, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    tmp_path.rmdir()
    assert main.main(command) in (1, 2)
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith(f"repcount {command[0]}: the current folder was deleted: change to another one")


def test_beams_notes_about_what_is_not_installed_are_dropped_and_nothing_else():
    def record(message):
        return logging.LogRecord("root", logging.WARNING, "", 0, message, (), None)

    assert not main._is_for_people(record("Resource module is not available for current platform"))
    apitools = "apitools not found, and bigquery client libraries are not available despite the import"
    assert not main._is_for_people(record(apitools))
    assert main._is_for_people(record("The staged files could not be removed"))


def test_beams_trace_of_a_known_error_is_dropped_since_the_last_line_says_all_of_it():
    def record(name, error):
        return logging.LogRecord(name, logging.ERROR, "", 0, str(error), (), (type(error), error, None))

    assert not main._is_no_known_error(record("apache_beam.runners.common", MachineFaultError("the GPU is lost")))
    assert not main._is_no_known_error(record("apache_beam.runners.common", UserError("the database is busy")))
    assert main._is_no_known_error(record("apache_beam.runners.common", ValueError("a mistake")))
    assert main._is_no_known_error(record("transforms.scoring", MachineFaultError("the GPU is lost")))


def test_beams_lines_about_a_job_that_is_refused_are_dropped_since_the_last_line_has_the_reason():
    def record(message):
        return logging.LogRecord("apache_beam.runners.dataflow.internal.apiclient", logging.ERROR, "", 0, message, (), None)

    assert not main._is_no_known_error(record("HTTP status 403 trying to create job at dataflow service endpoint https://d"))
    assert not main._is_no_known_error(record("details of server error: 403 the caller lacks dataflow.jobs.create"))
    assert main._is_no_known_error(record("HTTP status 403. Unable to query metrics"))

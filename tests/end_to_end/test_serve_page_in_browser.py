"""The page of `repcount serve` in a real browser: dropping, naming and playing videos, tokens, and errors as sentences."""

import contextlib
import dataclasses
import json
import subprocess
import sys
import threading
import time

import pytest
import uvicorn
from fastapi import FastAPI, Request
from fastapi.responses import Response

from pipeline.serve.allowed import AllowedPlaces
from pipeline.serve.config import ServeConfig
from pipeline.serve.page import make_router
from pipeline.web import open_socket
from tests.support.browser import open_browser
from tests.support.runs import ROOT
from tests.support.scorers import FAKE_COUNTER, FakeScorer
from tests.support.serving import Served, ServerProcess, wait_until
from tests.support.videos import draw_video

pytestmark = pytest.mark.slow

HOSTILE = "<img src=x onerror=document.title='owned'>"
TOKEN = "0123456789abcdef"


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A folder with a video that a browser plays, one that it does not, and garbage."""
    folder = tmp_path_factory.mktemp("videos")
    draw_video(folder / "a.webm", 240, size=(160, 120))
    draw_video(folder / "b.avi", 100)
    (folder / f"{HOSTILE}.mp4").write_text("no video")
    return folder


class Page:
    """The page as a person uses it."""

    def __init__(self, driver, address):
        self.driver = driver
        driver.get(address)

    def all(self, selector):
        return self.driver.find_elements("css selector", selector)

    def one(self, selector):
        return self.driver.find_element("css selector", selector)

    def js(self, expression):
        return self.driver.execute_script(f"return {expression}")

    def is_shown(self, selector):
        return self.one(selector).is_displayed()

    def drop(self, *paths):
        """Drops files on the page, as from a file manager."""
        data = {"items": [], "files": [str(path) for path in paths], "dragOperationsMask": 1}
        for kind in ("dragEnter", "dragOver", "drop"):
            self.driver.execute_cdp_cmd("Input.dispatchDragEvent", {"type": kind, "x": 150, "y": 150, "data": data})

    def name(self, name):
        self.one("#name").clear()
        self.one("#name").send_keys(name + "\ue007")

    def wait(self, what, happens):
        deadline = time.monotonic() + 60
        while not happens():
            assert time.monotonic() < deadline, f"{what} did not come"
            time.sleep(0.05)

    def count(self):
        """Returns the count, when it is there."""
        self.wait("the answer", lambda: self.is_shown("#answer") or self.is_shown("#problem"))
        assert self.is_shown("#answer"), self.one("#problem").text
        return self.one("#count").text

    def problem(self):
        """Returns the text of an error, when it is there."""
        self.wait("the error", lambda: self.is_shown("#problem"))
        return self.one("#problem").text

    def overflow_px(self):
        """Returns how much wider the content is than the page."""
        return self.js("document.documentElement.scrollWidth - document.documentElement.clientWidth")

    def errors(self):
        """Returns what the browser complains of, but for statuses of answers, which it always notes."""
        found = [entry["message"] for entry in self.driver.get_log("browser") if entry["level"] == "SEVERE"]
        return [message for message in found if "Failed to load resource" not in message]


@contextlib.contextmanager
def canned(status, body, headers=None):
    """Yields the address of the page on a server that answers every count like this."""
    app = FastAPI()
    app.include_router(make_router(ServeConfig(AllowedPlaces.parse(["/"], "/"), max_upload_bytes=5 << 20)))

    @app.api_route("/count", methods=["GET", "POST"])
    async def answer(request: Request) -> Response:
        await request.body()
        return Response(body, status, headers)

    listener = open_socket("127.0.0.1", 0)
    server = uvicorn.Server(uvicorn.Config(app, log_level="critical", lifespan="off"))
    thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]}, daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{listener.getsockname()[1]}/"
    finally:
        server.should_exit = True
        thread.join(60)


def test_a_dropped_video_has_the_count_of_repcount_count_and_plays_with_it(folder):
    command = [sys.executable, "-m", "pipeline", "count", "--quiet", "--json", str(folder / "a.webm")]
    expected = json.loads(subprocess.run(command, cwd=ROOT, check=True, capture_output=True, text=True).stdout)
    with ServerProcess("--base", folder) as server, open_browser() as driver:
        page = Page(driver, server.url)
        server.wait_ready()
        page.drop(folder / "a.webm")
        assert page.count() == str(expected["count_rounded"])
        assert page.one("#title").text == "a.webm"
        assert expected["count_rounded"] >= 5
        assert f"{expected['count']:.2f}" in page.one("#numbers").text
        marks = page.js("[...document.querySelectorAll('#plot .repetition')].map((mark) => Number(mark.dataset.sec))")
        assert marks == expected["repetition_times_sec"]
        assert len(page.all("#repetitions button")) == len(marks)
        assert [len(page.all(f"#plot .{line}")) for line in ("count", "periodicity", "period")] == [1, 1, 1]
        page.wait("the video", lambda: page.js("document.getElementById('player').readyState") >= 1)
        assert page.js("document.getElementById('player').src").startswith("blob:")
        page.all("#repetitions button")[2].click()
        page.wait("the time", lambda: abs(page.js("document.getElementById('player').currentTime") - marks[2]) < 0.05)
        assert page.one("#badge").text == "3"
        page.js("document.getElementById('player').play()")
        page.wait("the next repetition", lambda: int(page.one("#badge").text) >= 4)
        page.name("a.webm")
        page.wait("the other answer", lambda: page.is_shown("#answer") and not page.is_shown("#player"))
        assert page.count() == str(expected["count_rounded"])
        page.drop(folder / f"{HOSTILE}.mp4")
        assert page.problem().startswith("This video cannot be counted\nThe content is in no supported video format")
        assert "NOT_A_VIDEO" in page.problem()
        assert page.errors() == []


@pytest.fixture(scope="module")
def served(folder):
    with Served(folder) as served:
        yield served


def test_a_hostile_name_is_shown_as_text(folder, served):
    with open_browser() as driver:
        page = Page(driver, served.url)
        page.drop(folder / f"{HOSTILE}.mp4")
        page.problem()
        page.name(HOSTILE)
        page.wait("the error", lambda: "There is no such video" in page.problem())
        assert page.all("img") == []
        assert page.js("document.title") == "repcount"
        assert page.errors() == []


def test_characters_of_a_name_that_break_lines_or_turn_the_direction_are_replaced(folder, served, tmp_path):
    name = "rtl \u202egpj.4pm\u2028\x7f é👩\u200d💻.avi"
    shown = "rtl \ufffdgpj.4pm\ufffd\ufffd é👩\u200d💻.avi"
    (tmp_path / name).symlink_to(folder / "b.avi")
    with open_browser() as driver:
        page = Page(driver, served.url)
        page.drop(tmp_path / name)
        assert page.count() == "5"
        assert page.one("#title").text == shown
        assert page.js("document.title") == f"5 – {shown} – repcount"
        for part in ("phase", "status"):
            assert shown in page.js(f"document.getElementById('{part}').textContent")
        assert page.errors() == []


def test_a_video_that_the_browser_cannot_play_has_its_curve(folder, served):
    with open_browser() as driver:
        page = Page(driver, served.url)
        page.one("#file").send_keys(str(folder / "b.avi"))
        assert page.count() == "5"
        page.wait("the note", lambda: page.is_shown("#unplayable"))
        assert page.one("#unplayable").text == "This browser cannot play this video (mjpeg). The curve works without it."
        page.all("#repetitions button")[1].click()
        assert page.one("#now").text.startswith("2 by ")


def test_two_files_and_a_folder_are_refused(folder, served):
    with open_browser() as driver:
        page = Page(driver, served.url)
        page.drop(folder / "a.webm", folder / "b.avi")
        assert page.problem() == "One video at a time\nYou gave 2 files."
        page.drop(folder)
        page.wait("the error", lambda: page.problem() == "This is a folder\nDrop one video.")


def test_the_token_is_asked_for_and_lasts_as_long_as_the_page(folder):
    with Served(folder, token=TOKEN) as served, open_browser() as driver:
        page = Page(driver, served.url)
        page.drop(folder / "a.webm")
        page.wait("the question", lambda: page.is_shown("#token-form"))
        page.one("#token").send_keys("x" * 16 + "\ue007")
        page.wait("the question", lambda: "This token is not the server's." in page.one("#token-form").text)
        page.one("#token").send_keys(TOKEN + "\ue007")
        assert page.count() == "12"
        page.name("b.avi")
        page.wait("the other answer", lambda: page.one("#count").text == "5")
        assert TOKEN not in page.js("document.documentElement.outerHTML + location.href")
        driver.refresh()
        page.name("b.avi")
        page.wait("the question", lambda: page.is_shown("#token-form"))


def error(code, message=HOSTILE):
    return json.dumps({"error": {"code": code, "message": message}})


@pytest.mark.parametrize(
    ("status", "body", "headers", "shown", "has_retry"),
    [
        (400, error("INVALID_REQUEST"), {}, "The server does not understand this request", False),
        (
            403,
            error("FORBIDDEN", "this folder may not be read"),
            {},
            "This is not allowed\nThis folder may not be read.",
            False,
        ),
        (413, error("TOO_LARGE"), {}, "The video is too large\nA video may have 5 MiB", False),
        (413, "<html>Request Entity Too Large", {}, "The video is too large\nA video may have 5 MiB", False),
        (422, error("TOO_LONG"), {}, "This video cannot be counted\nThe video is longer than", False),
        (422, error('"]<b>'), {}, "This video cannot be counted", False),
        (
            429,
            error("BUSY"),
            {"retry-after": "7"},
            "The server is busy\nAs many videos wait as may wait. Try again in 7 s.",
            True,
        ),
        (500, error("MACHINE_FAULT"), {}, "The server has failed, not the video", True),
        (502, "<b>Bad Gateway</b>", {}, "The server has failed, not the video", True),
        (503, error("NOT_READY"), {"retry-after": "5"}, "The server is not ready\nIt may still be loading its model", True),
        (503, error("DRAINING"), {"retry-after": "1"}, "The server is about to end\nTry again in 1 s.", True),
        (504, error("DEADLINE"), {}, "The video took too long", True),
        (200, "no json", {}, "The server sent an answer that this page does not understand", True),
    ],
)
def test_every_error_is_a_sentence_and_its_text_is_never_markup(shared, folder, status, body, headers, shown, has_retry):
    with canned(status, body, headers) as address:
        page = Page(shared, address)
        page.drop(folder / "b.avi")
        assert page.problem().startswith(shown)
        assert page.is_shown("#retry") == has_retry
        assert page.all("#problem img, #problem b") == []
        assert page.js("document.title") == "repcount"


@pytest.fixture(scope="module")
def shared():
    """A browser for several tests, each of which opens a page of its own."""
    with open_browser() as driver:
        yield driver


def test_a_401_without_a_token_asks_for_one(shared, folder):
    with canned(401, "Unauthorized") as address:
        page = Page(shared, address)
        page.drop(folder / "b.avi")
        page.wait("the question", lambda: page.is_shown("#token-form"))


def test_a_server_that_is_gone_and_a_video_that_is_too_large_are_told_without_one(shared, folder, tmp_path):
    with canned(200, "{}") as address:
        page = Page(shared, address)
    (tmp_path / "large.mp4").write_bytes(bytes((5 << 20) + 1))
    page.drop(tmp_path / "large.mp4")
    assert page.problem().startswith("The video is too large\nA video may have 5 MiB")
    page.drop(folder / "b.avi")
    page.wait("the error", lambda: page.problem().startswith("No answer came\n"))
    assert page.is_shown("#retry")


class WaitingScorer(FakeScorer):
    """Says when it begins, and then waits until it may go on: once it is held, which it is not while the server starts."""

    def __init__(self):
        self.has_begun, self.may_go_on = threading.Event(), threading.Event()
        self.may_go_on.set()

    def hold(self):
        self.has_begun.clear()
        self.may_go_on.clear()

    def score(self, frames, *, is_last=True, repeats=1):
        self.has_begun.set()
        assert self.may_go_on.wait(60)
        return super().score(frames)


def test_cancel_ends_the_count(folder):
    scorer = WaitingScorer()
    counter = dataclasses.replace(FAKE_COUNTER, scorer=scorer)
    with Served(folder, counter=counter) as served, open_browser() as driver:
        page = Page(driver, served.url)
        scorer.hold()
        page.drop(folder / "a.webm")
        assert scorer.has_begun.wait(60)
        page.wait("the progress", lambda: page.one("#phase").text == "Counting a.webm")
        page.one("#cancel").click()
        assert not page.is_shown("#working")
        wait_until(lambda: not served.service.is_counting or served.service._running.is_stopped.is_set())
        scorer.may_go_on.set()
        wait_until(lambda: not served.service.is_counting)
        assert not page.is_shown("#answer")
        page.drop(folder / "b.avi")
        assert page.count() == "5"


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [360, 1440])
def test_nothing_is_wider_than_the_page(folder, served, width, scheme):
    with open_browser(width, 844, scheme) as driver:
        page = Page(driver, served.url)
        assert page.overflow_px() == 0
        page.one("#file").send_keys(str(folder / "a.webm"))
        page.count()
        assert page.overflow_px() == 0
        unnamed = page.js(
            "[...document.querySelectorAll('button, input, a, video, progress')].filter((one) => !one.textContent.trim()"
            " && !one.ariaLabel && !one.labels?.length).map((one) => one.outerHTML)"
        )
        assert unnamed == []

"""`repcount view` in a real browser, on the tables of a real run: playing, jumping, correcting, and going on by keys."""

import contextlib
import os
import subprocess
import sys
import time

import duckdb
import pytest

from pipeline.labels import read_labels
from tests.support.browser import open_browser
from tests.support.fake_run import run_fake
from tests.support.runs import ROOT
from tests.support.samples import make_provenance, make_video_count
from tests.support.videos import draw_video
from tests.support.warehouses import commit
from transforms.warehouse.duckdb_warehouse import DuckDBWarehouse

pytestmark = pytest.mark.slow

NAMES = ("a.webm", "b.webm", "c.avi")


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A folder with three videos of 8 s, of which a browser can play two, and the tables of a run over them."""
    folder = tmp_path_factory.mktemp("viewed")
    (folder / "videos").mkdir()
    for name in NAMES:
        draw_video(folder / "videos" / name, 240, size=(160, 120))
    assert run_fake(["run", "--input", folder / "videos", "--output", folder / "counts.duckdb", "--show", "0"]) == 0
    return folder


@pytest.fixture
def address(folder):
    """The address that `repcount view` prints. Afterwards it is ended."""
    (folder / "labels.csv").unlink(missing_ok=True)
    with viewing(folder) as address:
        yield address


@contextlib.contextmanager
def viewing(folder):
    """Yields the address that `repcount view` prints for the tables in a folder."""
    viewer = subprocess.Popen(
        [sys.executable, "-m", "pipeline", "view", "--output", "counts.duckdb", "--no_browser"],
        cwd=folder,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    )
    yield viewer.stdout.readline().strip()
    viewer.kill()
    viewer.communicate()


class Page:
    """The page as a person uses it."""

    def __init__(self, driver, address):
        self.driver = driver
        driver.get(address)
        self.wait("the list", lambda: self.all("#list a"))

    def all(self, selector):
        return self.driver.find_elements("css selector", selector)

    def one(self, selector):
        return self.driver.find_element("css selector", selector)

    def js(self, expression):
        return self.driver.execute_script(f"return {expression}")

    def press(self, *keys):
        from selenium.webdriver import ActionChains

        ActionChains(self.driver).send_keys(*keys).perform()

    def open(self, name):
        next(link for link in self.all("#list a") if name in link.text).click()
        self.wait(name, lambda: self.name == name and self.one("#plot svg"))

    @property
    def name(self):
        return self.one("#name").text

    @property
    def time_sec(self):
        return self.js("document.getElementById('player').currentTime")

    def wait(self, what, happens):
        deadline = time.monotonic() + 30
        while not happens():
            assert time.monotonic() < deadline, f"{what} did not come"
            time.sleep(0.05)

    def errors(self):
        return [entry["message"] for entry in self.driver.get_log("browser") if entry["level"] == "SEVERE"]


def is_ready(page):
    return page.js("document.getElementById('player').readyState") >= 1


def test_a_click_on_a_repetition_jumps_to_it_and_the_curve_follows_the_video(address):
    with open_browser() as driver:
        page = Page(driver, address)
        page.open("a.webm")
        page.wait("the video", lambda: is_ready(page))
        times = page.js("[...document.querySelectorAll('#plot .repetition')].map((mark) => Number(mark.dataset.sec))")
        assert len(times) >= 5
        before_px = float(page.one("#plot .cursor").get_attribute("x1"))
        page.all("#repetitions button")[3].click()
        page.wait("the time", lambda: abs(page.time_sec - times[3]) < 0.05)
        assert page.one("#now-count").text == "4"
        assert float(page.one("#plot .cursor").get_attribute("x1")) > before_px
        page.all("#plot .repetition")[1].click()
        page.wait("the time", lambda: abs(page.time_sec - times[1]) < 0.05)
        page.press("\ue014")  # →
        page.wait("the next repetition", lambda: abs(page.time_sec - times[2]) < 0.05)
        page.press("\ue012", "\ue012")  # ← ←
        page.wait("the repetition before", lambda: abs(page.time_sec - times[0]) < 0.05)
        page.press(" ")
        page.wait("the playing video", lambda: page.time_sec > times[0] + 0.3)
        page.press("k")
        page.wait("the pause", lambda: page.js("document.getElementById('player').paused"))
        assert page.errors() == []


def test_times_are_those_of_the_picture_even_if_the_sound_begins_before(folder, address):
    late_sec = 1.5
    with duckdb.connect(folder / "counts.duckdb") as connection:
        connection.execute("UPDATE video_counts SET first_frame_sec = $1 WHERE ends_with(video_uri, 'b.webm')", [late_sec])
    with open_browser() as driver:
        page = Page(driver, address)
        page.open("b.webm")
        page.wait("the video", lambda: is_ready(page))
        page.wait("the first frame", lambda: abs(page.time_sec - late_sec) < 0.05)
        first_sec = page.js("Number(document.querySelector('#plot .repetition').dataset.sec)")
        page.all("#repetitions button")[0].click()
        page.wait("the time", lambda: abs(page.time_sec - first_sec - late_sec) < 0.05)
        assert page.one("#now-count").text == "1"
        assert page.errors() == []


def test_a_corrected_count_is_in_labels_csv_and_a_key_goes_to_the_next_video(address, folder):
    with open_browser() as driver:
        page = Page(driver, address)
        page.open("b.webm")
        page.press("c", "17")
        page.press("\ue007")  # Enter
        page.wait("the message", lambda: page.one("#label-state").text == "Saved: 17.")
        assert [(label.file, label.true_count) for label in read_labels(str(folder / "labels.csv"))] == [("b.webm", 17.0)]
        page.press("\ue00c", "+", "s")  # Escape leaves the field
        page.wait("the message", lambda: page.one("#label-state").text == "Saved: 18.")
        assert (folder / "labels.csv").read_text() == "file,count\nb.webm,18\n"
        page.press("n")
        page.wait("the next video", lambda: page.name not in ("b.webm", ""))
        page.press("p")
        page.wait("the video before", lambda: page.name == "b.webm")
        page.press("p", "n")
        page.wait("the next video", lambda: page.name not in ("b.webm", ""))
        page.press("s")
        page.wait("the message", lambda: page.one("#label-state").text.startswith("Saved: "))
        assert len(read_labels(str(folder / "labels.csv"))) == 2
        second = page.name
        page.press("-", "n")
        assert "is not saved" in page.one("#label-state").text
        page.press("n")
        page.wait("the last video without a label", lambda: page.name not in ("b.webm", second, ""))
        page.one("#unlabelled").click()
        page.wait("the shorter list", lambda: len(page.all("#list a")) == 1)
        assert page.errors() == []


@pytest.mark.parametrize("way", ["list", "history"])
def test_a_count_that_is_not_saved_is_left_only_after_a_question(address, way):
    def leave():
        if way == "history":
            driver.back()
        else:
            next(link for link in page.all("#list a") if "a.webm" in link.text).click()

    with open_browser() as driver:
        page = Page(driver, address)
        page.open("a.webm")
        page.open("b.webm")
        assert may_close(page)
        shown = page.js("location.hash")
        counted = int(page.one("#count").get_attribute("value"))
        for more in (1, 2):
            page.press("+")
            assert not may_close(page)
            leave()
            page.wait("the question", lambda: "is not saved" in page.one("#label-state").text)
            assert page.name == "b.webm"
            assert page.js("location.hash") == shown
            assert page.one("#count").get_attribute("value") == str(counted + more)
        leave()
        page.wait("the other video", lambda: page.name == "a.webm")
        assert may_close(page)
        page.open("b.webm")
        assert page.one("#count").get_attribute("value") == str(counted)
        assert page.errors() == []


def may_close(page):
    """Returns whether the page lets the browser close it without a question."""
    return page.js("window.dispatchEvent(new Event('beforeunload', {cancelable: true}))")


def test_a_list_that_becomes_shorter_shows_its_last_page(tmp_path):
    warehouse = DuckDBWarehouse(str(tmp_path / "counts.duckdb"))
    warehouse.prepare()
    commit(warehouse, make_provenance(), *(make_video_count(f"{tmp_path}/videos/{number:02}.mp4", 1) for number in range(51)))
    with viewing(tmp_path) as address, open_browser() as driver:
        page = Page(driver, address)
        page.one("#unlabelled").click()
        page.one("#page-after").click()
        page.wait("the second page", lambda: page.one("#range").text == "51–51 of 51")
        page.all("#list a")[0].click()
        page.wait("the video", lambda: page.name == page.one("#list .name").text)
        page.press("s")
        page.wait("the first page", lambda: page.one("#range").text == "1–50 of 50")
        assert len(page.all("#list a")) == 50
        assert not page.one("#page-before").is_enabled()
        assert not page.one("#page-after").is_enabled()


def test_what_the_browser_cannot_play_says_so_and_its_curve_works(address):
    with open_browser() as driver:
        page = Page(driver, address)
        page.open("c.avi")
        page.wait("the note", lambda: page.one("#unplayable").is_displayed())
        assert page.one("#unplayable").text.startswith("This browser cannot play this video (mjpeg).")
        page.all("#repetitions button")[2].click()
        assert page.one("#now-count").text == "3"


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [390, 1440])
def test_nothing_is_wider_than_the_page_and_help_names_every_key(address, width, scheme):
    with open_browser(width, 844, scheme) as driver:
        page = Page(driver, address)
        page.wait("the first video", lambda: page.all("#plot svg"))
        assert page.js("document.documentElement.scrollWidth") == width
        page.press("?")
        page.wait("the help", lambda: page.one("#help").is_displayed())
        keys = {key.text for key in page.all("#help dt kbd")}
        assert {"Space", "k", "←", "→", ",", ".", "−", "+", "c", "s", "n", "p", "/", "?"} <= keys
        page.press("\ue00c")
        page.wait("the end of the help", lambda: not page.one("#help").is_displayed())
        unnamed = page.js(
            "[...document.querySelectorAll('button, input, select, a, video')].filter((one) => !one.textContent.trim()"
            " && !one.ariaLabel && !one.labels?.length).map((one) => one.outerHTML)"
        )
        assert unnamed == []

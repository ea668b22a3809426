"""The documentation quotes the file of figures, and nothing else changes in it."""

import pytest

from benchmarks.suite.figures import FILE, ROOT, FiguresError, merge_record
from benchmarks.suite.rendering import PAGE, outdated_pages, page_of_all, render, with_blocks
from tests.support.figures import READING, make_checkout, record


def test_the_documentation_shows_the_figures_of_the_file():
    assert outdated_pages(ROOT) == []


def test_a_block_gets_its_table_and_the_rest_of_the_page_stays():
    page = "# Reading\n\nText.\n\n<!-- benchmarks: reading -->\nold\n<!-- /benchmarks -->\n\nMore.\n"
    text = with_blocks(page, {"reading": record(READING)})
    assert text.startswith("# Reading\n\nText.\n\n<!-- benchmarks: reading -->\n\n| what |")
    assert text.endswith("2026-01-31.\n\n<!-- /benchmarks -->\n\nMore.\n")
    assert "old" not in text
    assert with_blocks(text, {"reading": record(READING)}) == text


@pytest.mark.parametrize(
    "page",
    [
        "<!-- benchmarks: reading -->\n",
        "<!-- /benchmarks -->\n",
        "<!-- benchmarks: reading -->\n<!-- benchmarks: memory -->\n<!-- /benchmarks -->\n",
    ],
)
def test_a_block_without_an_end_is_an_error(page):
    with pytest.raises(FiguresError, match="needs a line <!-- /benchmarks -->"):
        with_blocks(page, {})


def test_rendering_writes_the_pages_that_differ_and_then_none(tmp_path):
    root = make_checkout(tmp_path)
    assert [str(page) for page in outdated_pages(root)] == ["README.md", str(PAGE)]
    assert not (root / PAGE).exists()
    render(root)
    assert outdated_pages(root) == []
    assert "2.40× as fast" in (root / "README.md").read_text(encoding="utf-8")
    merge_record(root / FILE, "reading", record({**READING, "100MB": {"client": 0.1, "beam": 0.72}}))
    assert [str(page) for page in render(root)] == ["README.md", str(PAGE)]
    assert "7.20× as fast" in (root / "README.md").read_text(encoding="utf-8")


def test_an_error_names_the_page_and_nothing_is_written(tmp_path):
    root = make_checkout(tmp_path, "<!-- benchmarks: speed -->\n<!-- /benchmarks -->\n")
    with pytest.raises(FiguresError, match=r"README\.md: a block must name one of .*Received: speed"):
        render(root)
    assert not (root / PAGE).exists()


def test_the_page_has_machine_date_and_command_of_each_benchmark():
    slower = {**record({}).machine, "cores": 4}
    text = page_of_all({"reading": record(READING), "progress": record({"share": 0.003}, machine=slower, other_cores=0.5)})
    assert (
        "| Progress display of a run while `lite` scores | 0.3\N{NO-BREAK SPACE}% of one core |  |  |  | A | 2026-01-31 |"
        in text
    )
    assert "| 2.40× as fast | B | 2026-01-31 |" in text
    assert "- A: 4 cores of AMD EPYC with AVX2\n- B: 2 cores of AMD EPYC with AVX2\n" in text
    assert text.startswith("# Benchmarks\n")
    assert text.endswith("inference, inference-bfloat16.\n")
    assert "\n\nNot measured yet: decoding, " in text
    assert "| reading | `python -m benchmarks.reading` | 90 s | 0.0 | abc1234 | 2026-01-31 |" in text

"""Every web page is made in one environment: nothing from outside is markup, and nothing that a page names is missing."""

from pathlib import Path

import jinja2
import pytest

import pipeline
from pipeline.pages import STATIC, make_environment, mark_code


@pytest.fixture
def render(tmp_path):
    def render(template, **values):
        (tmp_path / "page.html").write_text(template, encoding="utf-8")
        return make_environment(tmp_path).get_template("page.html").render(**values)

    return render


@pytest.mark.parametrize("template", ["{{ name }}", "{% if name %}{% endif %}", "{{ video.name or '' }}", "{{ name|code }}"])
def test_a_name_that_is_missing_is_an_error(render, template):
    with pytest.raises(jinja2.UndefinedError, match="name"):
        render(template, video={})


@pytest.mark.parametrize(
    ("value", "shown"),
    [("<b>&", "&lt;b&gt;&amp;"), ("a\x1b[31m\n\u202eb", "a�[31m��b"), ("\udcff.mp4", "\\udcff.mp4"), (None, "–"), (0, "0")],
)
def test_a_value_is_escaped_text_that_can_be_printed(render, value, shown):
    assert render("{{ value }}", value=value) == shown


def test_code_between_backticks_is_marked_and_all_else_is_text():
    assert mark_code("`a<b>` & `c`, <i>`") == "<code>a&lt;b&gt;</code> &amp; <code>c</code>, &lt;i&gt;`"


def test_a_page_may_include_the_shared_style(render):
    assert render('{% include "base.css" %}') == (STATIC / "base.css").read_text(encoding="utf-8").rstrip("\n")


def test_no_other_file_makes_an_environment():
    package = Path(pipeline.__file__).parent
    paths = [path for path in package.rglob("*.py") if "jinja2.Environment(" in path.read_text(encoding="utf-8")]
    assert [str(path.relative_to(package)) for path in paths] == ["pages.py"]

"""Failure codes and their documentation agree."""

import subprocess
import sys

from tests.support.markdown import table_rows
from transforms.failure_codes import EXPLANATIONS, FailureCode, Stage


def test_the_documentation_has_one_row_for_each_code_in_the_same_order():
    documented = table_rows("docs/failure_codes.md", "code")
    assert list(documented) == [code.value for code in FailureCode]


def test_the_documentation_explains_each_code_in_the_words_of_the_program():
    documented = table_rows("docs/failure_codes.md", "code")
    explained = {code.value: [each.stage.value, each.meaning, each.advice] for code, each in EXPLANATIONS.items()}
    assert explained == {code: list(cells) for code, cells in documented.items()}


def test_each_row_names_a_stage_and_says_what_happened_and_what_to_do():
    for code, (stage, meaning, advice) in table_rows("docs/failure_codes.md", "code").items():
        assert stage in [stage.value for stage in Stage], code
        assert meaning, code
        assert advice, code


def test_the_value_of_a_code_is_its_name():
    assert all(code.value == code.name for code in FailureCode)


def test_the_decoder_process_imports_them_without_beam():
    program = "import sys, transforms.failure_codes; sys.exit('apache_beam' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", program], check=False).returncode == 0

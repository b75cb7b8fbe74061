"""The examples of docs/testing.md pass."""

import inspect
import re
import unittest
from pathlib import Path
from typing import Any

import pytest
from django.conf import settings

from tasks.testing import CallboardTestMixin

PAGE = (Path(settings.BASE_DIR) / "docs" / "testing.md").read_text()


def _examples() -> dict[str, Any]:
    """Run the page's blocks in one module and give its tests by name."""
    names: dict[str, Any] = {"__name__": "example"}
    for text in re.findall(r"^```python\n(.*?)^```", PAGE, re.M | re.S):
        exec(compile(text, "<docs/testing.md>", "exec"), names)
    return {name: one for name, one in names.items() if getattr(one, "__module__", "") == "example"}


EXAMPLES = _examples()
FUNCTIONS = [one for one in EXAMPLES.values() if inspect.isfunction(one)]


@pytest.mark.parametrize("example", FUNCTIONS, ids=lambda one: one.__name__)
def test_an_example_passes(example, callboard: CallboardTestMixin) -> None:
    example(callboard)


def run_case(case: type[unittest.TestCase]) -> None:
    result = unittest.TestResult()
    unittest.defaultTestLoader.loadTestsFromTestCase(case).run(result)
    assert (result.testsRun, result.errors, result.failures) == (1, [], [])


@pytest.mark.django_db
def test_the_example_of_unittest_passes() -> None:
    run_case(EXAMPLES["InvoiceTest"])


@pytest.mark.slow
@pytest.mark.django_db(transaction=True)
def test_the_example_with_a_real_worker_passes(idle_engine) -> None:
    run_case(EXAMPLES["RealWorkerTest"])


def test_the_page_names_every_function() -> None:
    for name in ("inline", "drain", "perform", "submitted", "assert_submitted", "assert_not_submitted", "travel"):
        assert f"{name}(" in PAGE
    assert len(FUNCTIONS) >= 7

"""The examples in docstrings of pure modules."""

import doctest

import pytest

from dlq import fingerprint
from tasks import priority
from tasks.broker import redis_url
from tasks.db import json_text
from tasks.queries import forecast


@pytest.mark.parametrize("module", [priority, fingerprint, json_text, redis_url, forecast])
def test_the_examples_in_docstrings_hold(module) -> None:
    assert doctest.testmod(module).failed == 0
    assert doctest.testmod(module).attempted > 0

from tasks.testing import drain, inline, perform
from tests.actors import act
import pytest
pytestmark = pytest.mark.django_db
def test_a():
    act.send("return", 3)
    (t,) = drain()
    assert t.status == "SUCCEEDED" and t.result == 3
def test_b():
    with inline():
        m = act.send("return", 3)
        assert m.get_result() == 3
def test_c():
    assert perform(act, "attempt", attempt=3) == 3

"""The sets of states."""

from tasks.states import DUE, FINAL, WAITING, Status


def test_states_are_divided_without_rest() -> None:
    assert WAITING | FINAL | {Status.RUNNING} == set(Status)
    assert not WAITING & FINAL
    assert DUE < WAITING

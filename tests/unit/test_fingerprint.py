"""Deaths of one cause share a fingerprint; deaths of two causes do not."""

import sysconfig
from itertools import combinations

import pytest

from dlq.fingerprint import fingerprint, own_frame

_LIBRARY = sysconfig.get_path("purelib")


def _traceback(*frames: str, error: str = "KeyError: 'x'") -> str:
    lines = [f'  File "{frame}\n    code()\n' for frame in frames]
    return f"Traceback (most recent call last):\n{''.join(lines)}{error}\n"


@pytest.mark.parametrize(
    ("error_type", "messages"),
    [
        ("TimeoutError", ["no answer in 3.5 s", "no answer in 12 s", "no answer in 1,024.25 s", "no answer in 1e-3 s"]),
        ("ValueError", ["order 17 of 'Zoë'", "order 18 of 'Ann'", 'order 1 of "Bo"']),
        ("ValueError", ["commit 9f3c21 is bad", "commit abc1234def is bad", "commit 0x7f is bad"]),
        (
            "LookupError",
            [f"no user {one}" for one in ("a@b.example", "c.d+e@f.example", "6f9619ff-8b86-4011-b42d-00cf4fc964ff")],
        ),
        ("KeyError", ["17", "18", "9001.5"]),
    ],
)
def test_variable_parts_do_not_split_a_cause(error_type: str, messages: list[str]) -> None:
    assert len({fingerprint("act", error_type, message) for message in messages}) == 1


@pytest.mark.parametrize(
    ("error_type", "messages"),
    [
        ("KeyError", ["'amount_cents'", "'currency'"]),
        ("AttributeError", ["'Order' object has no attribute 'paid'", "'Order' object has no attribute 'settled'"]),
        ("ValueError", ["we can't pay what isn't due", "we can't refund what isn't due"]),
        ("ValueError", ["the facade fell", "the decade ended"]),
    ],
)
def test_two_causes_do_not_merge(error_type: str, messages: list[str]) -> None:
    for one, other in combinations(messages, 2):
        assert fingerprint("act", error_type, one) != fingerprint("act", error_type, other)


def test_the_function_that_raised_tells_two_causes_apart_and_its_line_does_not() -> None:
    def of(frame: str) -> str:
        return fingerprint("act", "KeyError", "'x'", frame=frame)

    assert of("shop/actors.py:28 in settle") == of("shop/actors.py:31 in settle")
    assert of("shop/actors.py:28 in settle") != of("shop/actors.py:28 in refund")
    assert of("shop/actors.py:28 in settle") != of("shop/psp.py:28 in settle")


def test_the_innermost_frame_of_the_users_own_code_is_found() -> None:
    traceback = _traceback(
        '/srv/shop/actors.py", line 20, in act',
        '/srv/shop/psp.py", line 7, in settle',
        f'{_LIBRARY}/httpx2/client.py", line 900, in send',
        f'{sysconfig.get_path("stdlib")}/json/decoder.py", line 1, in decode',
    )
    assert own_frame(traceback) == "/srv/shop/psp.py:7 in settle"


def test_releases_beside_one_another_have_the_same_frames(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend("/srv/releases/41")
    assert own_frame(_traceback('/srv/releases/41/shop/psp.py", line 7, in settle')) == "shop/psp.py:7 in settle"


def test_only_the_last_error_of_a_chain_counts_and_never_what_its_message_quotes() -> None:
    first = _traceback('/srv/shop/first.py", line 1, in cause')
    last = _traceback('/srv/shop/last.py", line 2, in act', error='E: said\n  File "/srv/fake.py", line 3, in f')
    assert own_frame(f"{first}\nThe above exception was the direct cause:\n\n{last}") == "/srv/shop/last.py:2 in act"


@pytest.mark.parametrize("text", ["", "no traceback", "Traceback (most recent call last):\n", "  File broken"])
def test_a_text_without_frames_has_none(text: str) -> None:
    assert own_frame(text) == ""


def test_deaths_that_differ_in_a_secret_have_one_cause():
    messages = [f"cannot log in, password={one}" for one in ("hunter2", "swordfish", "********")]
    assert len({fingerprint("mail", "ValueError", message) for message in messages}) == 1

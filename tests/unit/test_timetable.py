"""When a timetable fires: cron in a zone with its changes of the clocks, intervals, and what it refuses."""

from datetime import UTC, datetime, timedelta, timezone
from itertools import islice, pairwise
from typing import Any

import pytest

from tasks import timetable
from tasks.timetable import Timetable, check_cron, split

BERLIN = "Europe/Berlin"
START = datetime(2026, 1, 1, tzinfo=UTC)


def at(text: str) -> datetime:
    return datetime.fromisoformat(text).replace(tzinfo=UTC)


def fires(after: str, count: int, **fields: Any) -> list[str]:
    found = islice(Timetable(anchor=START, **fields).fires(at(after)), count)
    return [f"{fire:%m-%d %H:%M:%S}" for fire in found]


def test_a_cron_expression_is_read_in_its_zone() -> None:
    assert fires("2026-01-02 00:00", 3, cron="0 6 * * 1-5", timezone=BERLIN) == [
        "01-02 05:00:00", "01-05 05:00:00", "01-06 05:00:00",
    ]  # fmt: skip


def test_six_fields_begin_with_seconds() -> None:
    assert fires("2026-01-02 00:00", 3, cron="*/20 * * * * *") == ["01-02 00:00:20", "01-02 00:00:40", "01-02 00:01:00"]


def test_an_alias_is_a_cron_expression() -> None:
    assert fires("2026-01-02 00:00", 1, cron="@daily", timezone=BERLIN) == ["01-02 23:00:00"]


@pytest.mark.parametrize("cron", ["30 2 * * *", "0 30 2 * * *"])
def test_a_time_that_the_change_to_summer_leaves_out_fires_when_the_gap_ends(cron: str) -> None:
    # On 29 March 2026 the clocks of Berlin go from 2:00 to 3:00, which is 1:00 UTC.
    assert fires("2026-03-27 12:00", 3, cron=cron, timezone=BERLIN) == [
        "03-28 01:30:00", "03-29 01:00:00", "03-30 00:30:00",
    ]  # fmt: skip


def test_two_times_in_one_gap_are_one_fire() -> None:
    assert fires("2026-03-28 12:00", 2, cron="0,30 2 * * *", timezone=BERLIN) == ["03-29 01:00:00", "03-30 00:00:00"]


@pytest.mark.parametrize("cron", ["30 2 * * *", "0 30 2 * * *"])
def test_a_time_that_the_change_to_winter_repeats_fires_the_first_time_only(cron: str) -> None:
    # On 25 October 2026 the clocks go from 3:00 back to 2:00, which is 1:00 UTC.
    assert fires("2026-10-24 12:00", 2, cron=cron, timezone=BERLIN) == ["10-25 00:30:00", "10-26 01:30:00"]
    # A schedule that is made between the two waits for the next day.
    assert fires("2026-10-25 00:50", 1, cron=cron, timezone=BERLIN) == ["10-26 01:30:00"]
    assert fires("2026-10-25 01:10", 1, cron=cron, timezone=BERLIN) == ["10-26 01:30:00"]


@pytest.mark.parametrize("cron", ["0 * * * *", "0 0 * * * *"])
def test_every_hour_is_every_hour_at_both_changes(cron: str) -> None:
    for start in ("2026-03-28 20:00", "2026-10-24 20:00"):
        moments = list(islice(Timetable(anchor=START, cron=cron, timezone=BERLIN).fires(at(start)), 12))
        assert {later - earlier for earlier, later in pairwise(moments)} == {timedelta(hours=1)}


def test_an_interval_counts_from_its_anchor_and_heeds_no_clocks() -> None:
    assert fires("2026-03-29 00:59:59", 2, every_seconds=5400.0, timezone=BERLIN) == [
        "03-29 01:30:00",
        "03-29 03:00:00",
    ]


def test_an_interval_of_a_year_ago_is_found_at_once() -> None:
    (fire,) = islice(Timetable(anchor=START, every_seconds=1.0).fires(at("2056-01-01")), 1)
    assert fire == at("2056-01-01 00:00:01")


def test_start_and_end_are_fires_themselves_if_they_fit() -> None:
    bounds = {"starts_at": at("2026-02-01 06:00"), "ends_at": at("2026-02-02 06:00")}
    assert fires("2026-01-01", 9, cron="0 6 * * *", **bounds) == ["02-01 06:00:00", "02-02 06:00:00"]
    assert fires("2026-01-01", 1, every_seconds=60.0, **bounds) == ["02-01 06:00:00"]


def test_no_fire_is_given_twice_and_all_are_in_order() -> None:
    for cron in ("*/7 * * * *", "15 1,2,3 * * *", "0 */3 * * *", "5 2 * * 0"):
        for zone in (BERLIN, "America/New_York", "Australia/Lord_Howe", "UTC"):
            found = list(islice(Timetable(anchor=START, cron=cron, timezone=zone).fires(at("2026-03-01")), 400))
            assert found == sorted(set(found)), (cron, zone)


def test_a_range_includes_both_of_its_ends_and_is_bounded() -> None:
    hourly = Timetable(anchor=START, cron="0 * * * *")
    assert len(hourly.between(at("2026-01-01 00:00"), at("2026-01-01 03:00"), most=9)) == 4
    assert len(hourly.between(at("2026-01-01 00:00"), at("2036-01-01 03:00"), most=9)) == 9


def test_a_zone_whose_rules_change_does_not_fire_again_at_a_time_that_its_clocks_have_shown(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    daily = Timetable(anchor=START, cron="0 6 * * *", timezone=BERLIN)
    decided, offset = at("2026-02-01 05:00"), 3600
    assert daily.counted_from(decided, offset_seconds=offset) == decided
    # The new rules: the clocks are level with UTC, so 6:00 of today would come once more.
    monkeypatch.setattr(timetable, "zone", lambda _: timezone(timedelta(0), "new"))
    assert daily.after(decided) == at("2026-02-01 06:00")
    assert daily.after(daily.counted_from(decided, offset_seconds=offset)) == at("2026-02-02 06:00")
    # The other way round nothing is left out.
    monkeypatch.setattr(timetable, "zone", lambda _: timezone(timedelta(hours=2), "new"))
    assert daily.after(daily.counted_from(decided, offset_seconds=offset)) == at("2026-02-02 04:00")


@pytest.mark.parametrize(
    ("cron", "says"),
    [
        ("0 0 31 2 *", "none of its months has that day"),
        ("0 0 30 2 *", "none of its months has that day"),
        ("0 0 31 4,6,9,11 *", "none of its months has that day"),
        ("61 * * * *", "bad minute"),
        ("* * * *", "wrong number of fields"),
        ("* * * * * * *", "wrong number of fields"),
        ("", "wrong number of fields"),
        ("*/0 * * * *", "bad minute"),
        ("L/2 * * * *", "bad minute"),
        ("* * * * MON#1/2", "bad day-of-week"),
        ("* * * * 1#1/2", ""),
        ("* * LW/2 * 9", "bad day-of-week"),
        ("@often", "got '@often'"),
        ("1," * 100 + "1 * * * *", "at most 200 characters"),
        ("\0 * * * *", "bad minute"),
        ("１ * * * *", "bad minute"),
    ],
)
def test_an_expression_that_never_fires_or_is_none_is_refused(cron: str, says: str) -> None:
    with pytest.raises(ValueError, match="expected") as refused:
        check_cron(cron)
    assert says in str(refused.value)


@pytest.mark.parametrize("name", ["Mars/Olympus", "", "../../etc/passwd", "/etc/passwd", "America", "a" * 500, "\0"])
def test_a_zone_that_is_none_is_refused(name: str) -> None:
    with pytest.raises(ValueError, match="expected the name of a time zone"):
        timetable.zone(name)


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("0 6 * * 1-5 Europe/Berlin", ("0 6 * * 1-5", "Europe/Berlin")),
        ("0 6 * * 1-5", ("0 6 * * 1-5", "UTC")),
        ("*/5 0 6 * * MON", ("*/5 0 6 * * MON", "UTC")),
        ("*/5 0 6 * * MON America/New_York", ("*/5 0 6 * * MON", "America/New_York")),
        ("@daily Asia/Tokyo", ("@daily", "Asia/Tokyo")),
        ("@hourly", ("@hourly", "UTC")),
    ],
)
def test_a_declaration_ends_with_its_zone(text: str, found: tuple[str, str]) -> None:
    assert split(text) == found


@pytest.mark.parametrize(
    "text", ["0 6 * * 1-5 Mars/Olympus", "0 6 * *", "0 0 31 2 * Europe/Berlin", "", "@daily Nowhere"]
)
def test_a_declaration_that_is_not_valid_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="expected"):
        split(text)


def test_it_says_in_words_when_it_fires() -> None:
    assert Timetable(anchor=START, cron="0 6 * * 1-5", timezone=BERLIN).describe() == (
        "At 06:00 on Monday through Friday, Europe/Berlin"
    )
    assert Timetable(anchor=START, every_seconds=90.0).describe() == "Every 90 s"

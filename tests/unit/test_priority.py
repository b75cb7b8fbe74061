"""Priorities and their bands."""

import pytest

from tasks import priority


def test_bands_cover_every_priority_once() -> None:
    covered = [n for band in priority.BANDS for n in range(band.lowest, band.highest + 1)]
    assert sorted(covered) == list(range(1, 11))
    for band in priority.BANDS:
        assert band.lowest <= band.default <= band.highest
        assert priority.band_of(band.default) == band.name
        assert priority.parse_priority(f" {band.name.upper()} ") == band.default


@pytest.mark.parametrize("value", [0, 11, -1, True, False, None, "", "urgent", "5", 5.0, [], {}])
def test_an_invalid_priority_is_refused_with_the_valid_ones(value) -> None:
    with pytest.raises(ValueError, match=r'expected a whole number from 1 to 10 or "high", "medium", "low", got'):
        priority.parse_priority(value)

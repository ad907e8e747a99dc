from __future__ import annotations

import numpy as np
import pytest

from geodiffrecon.files.quality import blank_codes, isolated_codes

MIDDLING = np.linspace(12.0, 48.0, 500)


@pytest.mark.parametrize(
    "code",
    [
        -9999,
        -999,
        -99,
        -999.9,
        1e20,
        9.969209968386869e36,
        -3.4028234663852886e38,
        65535,
        -32768,
        255,
        -1e34,
        9.999e20,
        1.70141e38,
        9.97e36,
        -3.4e38,
    ],
)
@pytest.mark.parametrize("kind", [np.float32, np.float64])
def test_a_code_far_outside_the_values_is_missing_and_counted(code, kind):
    values = MIDDLING.astype(kind)
    values[[3, 7]] = code
    assert list(isolated_codes(values).values()) == [2]
    notes = blank_codes(values, "pm25")
    assert np.flatnonzero(np.isnan(values)).tolist() == [3, 7]
    assert len(notes) == 1
    assert notes[0].startswith("2 cells of 'pm25' are")


@pytest.mark.parametrize(
    ("low", "high", "reading"),
    [(-120, 3000, -99), (500, 800, 999), (0, 40, 99), (-9000, 9000, -9999), (9e19, 2e20, 1e20)],
)
def test_a_reading_among_its_like_stays(low, high, reading):
    values = np.append(np.linspace(low, high, 500), reading)
    assert blank_codes(values, "v") == []
    assert np.isfinite(values).all()


def test_two_codes_and_infinity_are_told_apart():
    values = np.concatenate([MIDDLING, [-9999, -999, -999, np.inf, -np.inf, np.nan]])
    notes = blank_codes(values, "t", noun="values")
    assert [note.split(",")[0].split(";")[0] for note in notes] == [
        "2 values of 't' are infinite", "1 value of 't' is -9999", "2 values of 't' are -999",
    ]  # fmt: skip
    assert np.isnan(values[500:]).all()
    assert np.isfinite(values[:500]).all()


def test_a_map_of_one_code_only_holds_nothing():
    assert isolated_codes(np.full(9, -9999.0)) == {-9999.0: 9}
    assert isolated_codes(np.full(9, 99.0)) == {}
    assert isolated_codes(np.array([np.nan, np.inf])) == {}


def test_a_fill_hides_no_smaller_one_though_text_has_rounded_it():
    values = np.array([9.96921e36, 5.0, 1e20, -99.0])
    notes = blank_codes(values, "pm25", noun="values")
    assert np.isnan(values).tolist() == [True, False, True, True]
    assert len(notes) == 3


def test_columns_of_molecules_are_no_fills():
    values = np.array([1e15, 2.5e15, 4.0e15, 8.0e15])
    assert blank_codes(values, "no2") == []


def test_codes_of_packed_numbers_are_told_among_the_stored_ones():
    values = (np.linspace(300, 350, 50) * 0.1).astype("f4")
    values[[4, 9]] = 6553.5
    notes = blank_codes(values, "v", packing=(0.1, 0.0))
    assert np.flatnonzero(np.isnan(values)).tolist() == [4, 9]
    assert notes[0].startswith("2 cells of 'v' are 65535 as stored")

"""The feature encoder: numbers and categories to columns, and back to names; what it cannot encode it says."""

from __future__ import annotations

import json

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from detectors.base import DetectorError, NotFittedError
from detectors.features import FeatureEncoder

NAMES = ["bytes", "protocol", "rate"]
ROWS: list[list[float | str]] = [[float(i % 7), "tcp" if i % 3 else "udp", 0.5] for i in range(100)]


def encoder() -> FeatureEncoder:
    return FeatureEncoder(NAMES, ["protocol"]).fit(ROWS)


def test_numbers_come_first_then_a_column_per_category_and_one_for_unknown() -> None:
    encoded, problems = encoder().encode([[3.0, "tcp", 0.5], [3.0, "udp", 0.5], [3.0, "icmp", 0.5]])
    assert problems == {}
    assert encoder().channels == 5
    assert encoded[:, 2:].tolist() == [[1, 0, 0], [0, 1, 0], [0, 0, 1]]
    assert encoded[:, :2].tolist() == [[0, 0]] * 3  # the medians


def test_a_column_that_never_changed_stands_out_when_it_does() -> None:
    encoded, _ = encoder().encode([[3.0, "tcp", 0.5], [3.0, "tcp", 1.5]])
    assert encoded[0, 1] == 0.0
    assert encoded[1, 1] == pytest.approx(1.0 / 0.05)


def test_anomalies_among_the_fitted_rows_do_not_move_centre_and_scale() -> None:
    bad: list[list[float | str]] = [[1e6, "tcp", 0.5], [-1e6, "tcp", 0.5]]
    clean, _ = encoder().encode(ROWS)
    spoilt, _ = FeatureEncoder(NAMES, ["protocol"]).fit(ROWS + bad).encode(ROWS)
    assert np.allclose(clean, spoilt)


def test_a_heavy_tail_is_taken_as_a_logarithm_also_below_zero_later() -> None:
    rows: list[list[float | str]] = [[float(x)] for x in (1, 2, 3, 4, 5, 6, 7, 8, 9, 1e6)]
    heavy = FeatureEncoder(["bytes"]).fit(rows)
    encoded, problems = heavy.encode([[1e3], [1e6], [-1e3]])
    assert problems == {}
    assert encoded[1, 0] - encoded[0, 0] == pytest.approx((np.log1p(1e6) - np.log1p(1e3)) / heavy._scale[0])
    assert encoded[2, 0] < encoded[0, 0]
    assert "heavy" in heavy.to_header()


def test_no_number_is_larger_than_the_clip() -> None:
    encoded, problems = FeatureEncoder(["x"], clip=5.0).fit([[0.0], [1.0], [2.0]]).encode([[1e200], [-1e200]])
    assert problems == {}
    assert encoded.tolist() == [[5.0], [-5.0]]


@pytest.mark.parametrize(
    ("row", "why"),
    [
        (["1.5", "tcp", 0.5], "bytes is '1.5', not a number"),
        ([1.5, "tcp"], "2 values for 3 columns"),
        ([1.5, "tcp", 0.5, 0.5], "4 values for 3 columns"),
        ([float("nan"), "tcp", 0.5], "bytes is nan, not a finite number"),
        ([1.5, "tcp", float("inf")], "rate is inf, not a finite number"),
        ([1.5, "tcp", 10**400], "rate is 1000"),
        (["x" * 100, "tcp", 0.5], "bytes is 'xxx"),
    ],
)
def test_a_row_that_cannot_be_encoded_is_named_and_the_others_are_as_without_it(
    row: list[float | str], why: str
) -> None:
    good, _ = encoder().encode(ROWS)
    mixed, problems = encoder().encode([*ROWS[:50], row, *ROWS[50:]])
    assert list(problems) == [50]
    assert why in problems[50]
    assert len(problems[50]) < 80
    assert not mixed[50].any()
    assert np.array_equal(np.delete(mixed, 50, axis=0), good)


def test_problems_are_found_in_every_part_of_a_long_batch() -> None:
    rows = [list(row) for row in ROWS * 20]
    for at in (0, 511, 512, 1999):
        rows[at][0] = "?"
    _, problems = encoder().encode(rows)
    assert sorted(problems) == [0, 511, 512, 1999]


def test_no_rows_are_no_problem_but_nothing_to_fit_on() -> None:
    encoded, problems = encoder().encode([])
    assert encoded.shape == (0, 5)
    assert problems == {}
    with pytest.raises(DetectorError, match="no rows"):
        FeatureEncoder(NAMES).fit([])


def test_it_says_what_is_wrong_with_its_columns() -> None:
    with pytest.raises(DetectorError, match="repeat: bytes"):
        FeatureEncoder(["bytes", "bytes"])
    with pytest.raises(DetectorError, match="'port' is not among"):
        FeatureEncoder(NAMES, ["port"])
    with pytest.raises(NotFittedError, match="call fit first"):
        FeatureEncoder(NAMES).encode(ROWS)
    with pytest.raises(DetectorError, match="row 1: bytes is 'x'"):
        FeatureEncoder(NAMES, ["protocol"]).fit([ROWS[0], ["x", "tcp", 1.0]])


def test_values_are_numbers_and_come_back_and_what_is_usual_is_known() -> None:
    rows = [[1.0, "tcp"], [5.0, "udp"], [2.0, "udp"]]
    known = FeatureEncoder(["n", "c"], ["c"]).fit(rows)
    assert known.usual == (2.0, "udp")
    for column, value in ((0, 7.5), (1, "tcp"), (1, "udp")):
        assert known.value_of(column, known.number_of(column, value)) == value
    assert known.value_of(1, known.number_of(1, "icmp")) is None
    assert FeatureEncoder.from_header(known.to_header()).usual == known.usual
    before = {name: of for name, of in known.to_header().items() if name != "usual"}
    assert FeatureEncoder.from_header(before).usual == ()


def test_contributions_of_encoded_columns_come_back_to_the_named_ones() -> None:
    contributions = np.array([[1, 2, 3, 4, 5]], np.float32)  # bytes, rate, tcp, udp, unknown
    assert encoder().by_feature(contributions).tolist() == [[1, 3 + 4 + 5, 2]]


def test_a_header_is_json_and_gives_the_same_encoder_back() -> None:
    header = json.loads(json.dumps(encoder().to_header()))
    again = FeatureEncoder.from_header(header)
    assert np.array_equal(again.encode(ROWS)[0], encoder().encode(ROWS)[0])
    assert again.to_header() == encoder().to_header()


def test_a_damaged_header_is_refused_by_name() -> None:
    header = dict(encoder().to_header())
    with pytest.raises(DetectorError, match="features: scale"):
        FeatureEncoder.from_header({**header, "scale": ["a"]})
    with pytest.raises(DetectorError, match="more or fewer statistics"):
        FeatureEncoder.from_header({**header, "scale": [1.0]})


@given(
    rows=st.lists(
        st.tuples(st.floats(-1e6, 1e6), st.sampled_from(["a", "b", "c"]), st.integers(-5, 5)), min_size=1, max_size=40
    ),
    cut=st.integers(0, 40),
)
@example(rows=[(0.0, "a", 0)] * 3 + [(1.0, "a", 0), (2.2e-309, "a", 0)], cut=0)  # a spread next to nothing
def test_rows_are_encoded_one_by_one_as_together(rows: list[tuple[float, str, int]], cut: int) -> None:
    fitted = FeatureEncoder(NAMES, ["protocol"]).fit(rows)
    whole, problems = fitted.encode(rows)
    assert problems == {}
    assert np.isfinite(whole).all()
    parts = np.concatenate([fitted.encode(rows[:cut])[0], fitted.encode(rows[cut:])[0]])
    assert np.array_equal(whole, parts)


def test_min_max_takes_the_fitted_rows_to_0_and_1_and_goes_on_beyond() -> None:
    encoder = FeatureEncoder(["a", "still", "kind"], ["kind"], scaling="min-max")
    encoded, _ = encoder.fit([[2.0, 7.0, "x"], [6.0, 7.0, "y"], [1000.0, 7.0, "x"]]).encode(
        [[501.0, 14.0, "x"], [1998.0, 7.0, "z"]]
    )
    assert encoded.tolist() == [[0.5, 1.0, 1.0, 0.0, 0.0], [2.0, 0.0, 0.0, 0.0, 1.0]]
    again = FeatureEncoder.from_header(encoder.to_header())
    assert again.encode([[501.0, 14.0, "x"]])[0].tolist() == encoded[:1].tolist()
    with pytest.raises(DetectorError, match="robust or min-max, not standard"):
        FeatureEncoder(["a"], scaling="standard")


@pytest.mark.parametrize("scaling", ["robust", "min-max"])
def test_decoding_gives_the_rows_back(scaling: str) -> None:
    rows = [[0.0, "b", -3.0], [1.0, "a", 2.5], [5000.0, "b", 8.0], [2.0, "c", 1.0]]
    encoder = FeatureEncoder(["bytes", "kind", "t"], ["kind"], scaling=scaling).fit(rows)
    columns = encoder.decode(encoder.encode(rows)[0])
    assert columns[1].tolist() == ["b", "a", "b", "c"]
    assert np.allclose(columns[0].astype(float), [0, 1, 5000, 2], atol=1e-6)
    assert np.allclose(columns[2].astype(float), [-3, 2.5, 8, 1])

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gristmill.planning.progress import WINDOW_SECONDS, Sample, State, eta_of, rate_of, recent, state_of


@pytest.mark.parametrize(
    ("phase", "suspended", "workers", "expected"),
    [
        ("planning", False, 0, State.PENDING),
        ("planning", False, 2, State.PLANNING),
        ("running", False, 0, State.RUNNING),
        ("running", True, 2, State.SUSPENDED),
        ("planning", True, 0, State.SUSPENDED),
        ("complete", True, 0, State.COMPLETE),
        ("failed", False, 1, State.FAILED),
        ("removing", True, 1, State.FAILED),
        ("removed", True, 0, State.FAILED),
    ],
)
def test_state(phase: str, suspended: bool, workers: int, expected: State) -> None:
    assert state_of(phase, suspended, workers) is expected


def test_rate_is_that_of_the_window() -> None:
    slow_then_fast = [Sample(float(at), at) for at in range(100)]
    slow_then_fast += [Sample(100.0 + at, 99 + 10 * at) for at in range(1, 40)]
    assert rate_of(slow_then_fast, 139.0) == pytest.approx(10, rel=0.1)


def test_rate_falls_to_nothing_when_nothing_moves() -> None:
    samples = [Sample(0.0, 0), Sample(1.0, 100)]
    assert rate_of(samples, 1.0) == 100
    assert rate_of(samples, 11.0) == pytest.approx(100 / 11)
    assert rate_of(samples, 100.0) == 0


def test_rate_before_there_is_any() -> None:
    assert rate_of([], 5.0) is None
    assert rate_of([Sample(5.0, 3)], 5.0) is None


def test_rate_is_not_negative_when_the_queue_forgot() -> None:
    assert rate_of([Sample(0.0, 50), Sample(1.0, 3)], 1.0) == 0


@pytest.mark.parametrize(
    ("remaining", "rate", "expected"),
    [(0, None, 0), (10, 3.0, 4), (10, 0.0, None), (10, None, None), (1, 1e9, 1), (10**15, 1e-6, None)],
)
def test_eta(remaining: int, rate: float | None, expected: int | None) -> None:
    assert eta_of(remaining, rate) == expected


@given(st.lists(st.floats(0, 1000), max_size=50), st.floats(0, 1000))
def test_window_keeps_what_is_needed_and_no_more(times: list[float], later: float) -> None:
    samples = [Sample(at, index) for index, at in enumerate(sorted(times))]
    now = (samples[-1].at if samples else 0) + later
    kept = recent(samples, now)
    assert kept == samples[len(samples) - len(kept) :]
    assert all(sample.at >= now - WINDOW_SECONDS for sample in kept[1:])
    assert rate_of(samples, now) == rate_of(kept, now)

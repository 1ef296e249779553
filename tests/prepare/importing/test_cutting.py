"""Cutting: nothing is lost, nothing is moved, and what a cut does is told."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from earmark.core.event import Event
from earmark.prepare.importing.cutting import (
    Cutting,
    clips_of,
    events_of,
    joined_events,
    joined_spans,
    spans_between,
)

RATE = 1000


def cutting(**changes: float) -> Cutting:
    usual = {"rate": RATE, "length": 10_000, "hop": 10_000, "shortest": 1000, "least": 0.1}
    return Cutting(**{**usual, **changes})  # type: ignore[arg-type]


cuttings = st.builds(
    lambda length, hop, shortest, least: Cutting(RATE, length, min(hop, length), shortest, least),
    st.integers(500, 12_000),
    st.integers(200, 12_000),
    st.integers(1, 3000),
    st.floats(0, 1),
)
lengths = st.integers(1, 60_000)
times = st.integers(0, 60_000).map(lambda number: number / RATE)
events = st.lists(
    st.tuples(times, times, st.sampled_from("ab")).map(
        lambda e: Event(min(e[:2]), max(e[:2]), e[2])
    ),
    max_size=8,
)


@given(cutting=cuttings, start=st.integers(0, 500), length=lengths)
@settings(max_examples=200, deadline=None)
def test_clips_cover_a_span(cutting: Cutting, start: int, length: int) -> None:
    clips = clips_of([(start, start + length)], cutting)
    assert all(
        start <= first < stop <= start + length and stop - first <= cutting.length
        for first, stop in clips
    )
    assert [first for first, _ in clips] == [start + cutting.hop * n for n in range(len(clips))]
    covered = max((stop for _, stop in clips), default=start)
    assert start + length - covered < min(cutting.shortest, cutting.length)
    assert all(stop - first == cutting.length for first, stop in clips[:-1])
    # the last one is needed
    assert len(clips) < 2 or clips[-2][1] < clips[-1][1]


@given(cutting=cuttings, length=lengths, events=events)
@settings(max_examples=200, deadline=None)
def test_events_keep_their_time(cutting: Cutting, length: int, events: list[Event]) -> None:
    for clip in clips_of([(0, length)], cutting):
        begin, end = clip[0] / RATE, clip[1] / RATE
        own, cuts = events_of(events, clip, cutting)
        whole = [e for e in events if begin <= e[0] and e[1] <= end and (e[0] < end)]
        dropped = [cut for cut in cuts if not cut.kept]
        assert len(own) == len(whole) + len(cuts) - len(dropped)
        assert all(cut.seconds < cutting.least for cut in dropped)
        back = [(onset + begin, offset + begin, label) for onset, offset, label, _ in own]
        for onset, offset, label in back:
            assert begin - 1e-9 <= onset <= offset <= end + 1e-9
            assert any(
                label == e[2]
                and abs(max(e[0], begin) - onset) < 1e-8
                and abs(min(e[1], end) - offset) < 1e-8
                for e in events
            )


@given(length=lengths, events=events, size=st.integers(500, 12_000))
@settings(max_examples=100, deadline=None)
def test_pieces_of_an_event_add_up(length: int, events: list[Event], size: int) -> None:
    clips = clips_of([(0, length)], cutting(length=size, hop=size, shortest=1, least=0))
    total = sum(
        offset - onset
        for clip in clips
        for onset, offset, _, _ in events_of(events, clip, cutting(least=0))[0]
    )
    inside = sum(max(0.0, min(e[1], length / RATE) - e[0]) for e in events)
    assert total == pytest.approx(inside, abs=1e-6)


def test_an_event_on_a_cut() -> None:
    event = Event(9.95, 12.0, "Dog")
    own, cuts = events_of([event], (0, 10_000), cutting())
    assert own == []
    assert (cuts[0].kept, round(cuts[0].seconds, 9)) == (False, 0.05)
    own, cuts = events_of([event], (10_000, 20_000), cutting())
    assert own == [Event(0.0, 2.0, "Dog")]
    assert cuts[0].kept
    # a whole event may be as short as it likes
    assert events_of([Event(1.0, 1.01, "Dog")], (0, 10_000), cutting())[0] == [
        Event(1.0, 1.01, "Dog")
    ]
    assert events_of([Event(10.0, 11.0, "Dog")], (0, 10_000), cutting()) == ([], [])
    assert events_of([Event(19.3, 19.7, "Dog")], (10_000, 20_000), cutting())[0] == [
        Event(9.3, 9.7, "Dog")
    ]


@given(spans=st.lists(st.tuples(times, times).map(sorted).map(tuple), max_size=6), length=lengths)
@settings(max_examples=100, deadline=None)
def test_spans_and_what_is_between(spans: list[tuple[float, float]], length: int) -> None:
    joined = joined_spans(spans, length, RATE)
    between = spans_between(joined, length)
    everything = sorted([*joined, *between])
    assert [first for first, _ in everything] == [0, *(stop for _, stop in everything)][:-1]
    assert everything[-1][1] == length
    for first, stop in spans:
        middle = int((first + stop) / 2 * RATE)
        if first < stop and middle < min(length, stop * RATE):
            assert any(a <= middle < b for a, b in joined)


def test_overlapping_events_of_a_class_are_joined() -> None:
    given_ = [
        Event(0.0, 2.0, "a"),
        Event(1.0, 3.0, "a"),
        Event(1.5, 1.7, "a"),
        Event(2.5, 4.0, "b"),
        Event(3.0, 5.0, "a"),
    ]
    assert joined_events(given_) == (
        [Event(0.0, 3.0, "a"), Event(2.5, 4.0, "b"), Event(3.0, 5.0, "a")],
        2,
    )

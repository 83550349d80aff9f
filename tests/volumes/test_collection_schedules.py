"""Content that a name points at is never collected: every schedule of a writer and a collector, many of three."""

from __future__ import annotations

import errno
import itertools
import random
from types import SimpleNamespace

import pytest
from tests.volumes.scenes import HOUR, WRITERS, Scene, lengths

from gristmill.volumes import writing
from gristmill.volumes.collection import collect
from gristmill.volumes.errors import StorageFailed
from gristmill.volumes.filer.calls import BrokenOff, Patience


@pytest.fixture(autouse=True)
def time_passes(monkeypatch: pytest.MonkeyPatch) -> None:
    """A collector that waits finds that what was being moved has been."""
    waits = SimpleNamespace(sleep=lambda seconds: Scene.now.end_moves())
    monkeypatch.setattr("gristmill.volumes.collection.time", waits)


@pytest.mark.parametrize(("grace", "storage"), [(0.0, "copying"), (HOUR, "copying"), (HOUR, "filer")])
@pytest.mark.parametrize("writer", WRITERS)
def test_no_schedule_takes_content_from_a_name(grace: float, storage: str, writer: str) -> None:
    """A writer goes any number of steps, a collector any number, then either ends, or is killed, first."""
    is_copy = writer == "copied"
    writer_steps, collector_steps = lengths(grace, writer, is_copy, storage)
    for before in range(writer_steps):
        for between in range(collector_steps):
            for last in ("collector", "writer", "killed collector", "killed writer"):
                scene = Scene(grace, named=is_copy, storage=storage)
                writing = scene.write(writer)
                scene.step(writing, before)
                if is_copy:  # (so that only the copy keeps it)
                    scene.store.remove("old")
                collecting = scene.collect()
                scene.step(collecting, between)
                if last.startswith("killed"):
                    (collecting if last == "killed collector" else writing).kill()
                scene.pass_time()
                first, second = (collecting, writing) if last == "writer" else (writing, collecting)
                scene.step(first)
                scene.step(second)
                scene.end()


@pytest.mark.parametrize(("grace", "storage"), [(0.0, "at once"), (HOUR, "copying"), (HOUR, "filer")])
@pytest.mark.parametrize("writer", WRITERS)
def test_no_schedule_of_two_collectors_does(
    writer: str, grace: float, storage: str, sampled: random.Random
) -> None:
    """The second collector comes between the steps of the first; the writer ends in between, or after both."""
    is_copy = writer == "copied"
    writer_steps, collector_steps = lengths(grace, writer, is_copy, storage)
    schedules = itertools.product(
        range(writer_steps), range(collector_steps), range(collector_steps), (0, 1, 2)
    )
    for before, between, then, last in sampled.sample(list(schedules), 600):
        scene = Scene(grace, named=is_copy, storage=storage)
        writing = scene.write(writer)
        scene.step(writing, before)
        if is_copy:
            scene.store.remove("old")
        one = scene.collect()
        scene.step(one, between)
        two = scene.collect()
        scene.step(two, then)
        for actor in ((writing, two, one), (two, writing, one), (one, writing, two))[last]:
            scene.step(actor)
        scene.end()


@pytest.mark.parametrize("other", ["other", "saved"])
@pytest.mark.parametrize("breaks", [1, 2])
@pytest.mark.parametrize("is_large", [False, True])
def test_a_move_that_breaks_off_takes_nothing(
    other: str, breaks: int, monkeypatch: pytest.MonkeyPatch, *, is_large: bool
) -> None:
    """Another writes the same content, or name, before it is tried again, and a collection comes after both."""
    monkeypatch.setattr(Patience, "wait", lambda self, limit, error: None)
    if is_large:  # (so that content is moved, too)
        monkeypatch.setattr("gristmill.volumes.writing._MOST_HELD", 0)
    scene = Scene(HOUR, named=False, storage="filer")
    scene.step(one := scene.save("saved", breaks=breaks))
    for first, then in itertools.product(range(one.steps), repeat=2):
        scene = Scene(HOUR, named=False, storage="filer")
        collect(scene.store.backend, 0)
        two = scene.save(other)
        scene.step(two, first)
        one = scene.save("saved", breaks=breaks)
        for actor, steps in ((one, then), (two, 1000), (one, 1000)):
            scene.step(actor, steps)
        assert (one.error, two.error) == (None, None)
        scene.pass_time()
        scene.step(scene.collect())
        scene.end()


@pytest.mark.parametrize("half", ["draft", "trash"])
@pytest.mark.parametrize("writer", ["saved", "named", "named again"])
def test_what_a_half_move_left_takes_nothing(
    half: str, writer: str, sampled: random.Random, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Two keys have the same bytes for as long as nobody looks; then come a writer and two collectors."""
    monkeypatch.setattr(Patience, "wait", lambda self, limit, error: None)
    monkeypatch.setattr("gristmill.volumes.writing._MOST_HELD", 0)
    for _ in range(150):
        scene = Scene(HOUR, named=False, storage="filer")
        if half == "trash":
            scene.step(scene.collect(breaks=1))
        else:
            collect(scene.store.backend, 0)
            scene.step(one := scene.save("first", breaks=1))
            assert one.error is None
            scene.forget("first")
        scene.pass_time()
        actors = [scene.write(writer), scene.collect(), scene.collect()]
        while going := [actor for actor in actors if not actor.is_over]:
            scene.step(sampled.choice(going), sampled.choice((1, 2, 3, 6, 15, 30)))
        scene.end()


def test_a_name_whose_draft_was_collected_is_not_acknowledged(monkeypatch: pytest.MonkeyPatch) -> None:
    """The move broke off before it had begun, and a collection without a grace came before it was tried again."""
    scene = Scene(HOUR, named=False, storage="filer")
    scene.store.save("file", b"old")
    moves: list[str] = []

    def collected(key: str, to: str) -> None:
        moves.append(key)
        collect(scene.open(lambda: None), 0)
        raise BrokenOff(errno.EIO, "the filer does not answer")

    monkeypatch.setattr(scene.store.backend, "_move", collected)
    with pytest.raises(StorageFailed, match="write it again"):
        scene.store.save("file", b"new")
    assert (len(moves), scene.store.open("file").read()) == (1, b"old")


@pytest.mark.parametrize(
    "writers",
    [("named again", "named", "named"), ("saved", "named", "collect"), ("saved", "named again", "collect")],
)
def test_three_at_once_are_told_no_nonsense(
    writers: tuple[str, ...], sampled: random.Random, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Patience, "wait", lambda self, limit, error: None)
    for _ in range(150):
        scene = Scene(HOUR, named=False, storage="filer")
        actors = [scene.collect() if name == "collect" else scene.write(name) for name in writers]
        while going := [actor for actor in actors if not actor.is_over]:
            scene.step(sampled.choice(going), sampled.choice((1, 2, 3, 6)))
        scene.end()


@pytest.mark.parametrize("damaged", ["place", "aside"])
@pytest.mark.parametrize("large", [False, True])
@pytest.mark.parametrize(
    "writers",
    [("saved", "collect"), ("named", "collect"), ("saved", "saved too"), ("saved", "saved too", "collect")],
)
def test_who_puts_damaged_content_again_has_mended_it(
    writers: tuple[str, ...],
    large: bool,
    damaged: str,
    sampled: random.Random,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(Patience, "wait", lambda self, limit, error: None)
    if large:  # (a draft is moved to its place)
        monkeypatch.setattr(writing, "_MOST_HELD", 0)
    for _ in range(100):
        scene = Scene(HOUR, named=False, storage="filer", damaged=damaged)
        actors = [
            scene.collect()
            if name == "collect"
            else scene.write(name)
            if name == "named"
            else scene.save(name)
            for name in writers
        ]
        while going := [actor for actor in actors if not actor.is_over]:
            scene.step(sampled.choice(going), sampled.choice((1, 2, 3, 6)))
            scene.end_moves()  # (what of a move itself is not seen is told in docs/volumes.md)
        scene.end()

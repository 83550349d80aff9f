"""What a queue without memory is told."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from gristmill.planning.plan import Plan, block_height
from gristmill.planning.recovery import what_is_left
from gristmill.planning.values import DeadLetter


def plan(chunks: int, height: int) -> Plan:
    return Plan("s", {}, chunks, chunks, height)


def test_nothing_finished_is_everything_left() -> None:
    left = what_is_left(plan(10, 2), [], [], 0, [], {})
    assert left["pieces"] == [(0, 8), (8, 10)]
    assert (left["settled"], left["blocks_done"], left["blocks"], left["assemble"]) == (0, 0, [], [])


def test_blocks_parts_and_what_waits_to_be_assembled() -> None:
    dead = DeadLetter(1, 3, 1, "error", 3, "w", "ValueError")
    left = what_is_left(plan(10, 2), [0], [(0, 2), (4, 8), (8, 9)], 41, [(dead, "{}")], {1: 8, 6: 5})
    assert left["pieces"] == [(9, 10)]
    assert left["settled"] == 9
    assert left["blocks_done"] == 1
    assert left["assemble"] == [1]
    assert left["blocks"] == [(2, 1)]
    assert left["splits"] == [(1, 8)]
    assert left["dead"] == [(1, 3, 1, "{}")]


@given(st.integers(1, 300), st.integers(0, 5), st.data())
def test_pieces_and_settled_chunks_are_the_job(chunks: int, height: int, data: st.DataObject) -> None:
    job = plan(chunks, height)
    complete = data.draw(st.sets(st.integers(0, job.blocks - 1)))
    done = []
    for block in range(job.blocks):
        low, high = job.block_range(block)
        a, b = sorted((data.draw(st.integers(low, high)), data.draw(st.integers(low, high))))
        if a < b:
            done.append((a, b))
    left = what_is_left(job, complete, done, 0, [], {})
    todo = {c for a, b in left["pieces"] for c in range(a, b)}
    finished = {c for block in complete for c in range(*job.block_range(block))} | {
        c for a, b in done for c in range(a, b)
    }
    assert todo == set(range(chunks)) - finished
    assert left["settled"] == len(finished)
    whole = {block for block in range(job.blocks) if set(range(*job.block_range(block))) <= finished}
    assert set(left["assemble"]) == whole - complete
    assert dict(left["blocks"]) == {
        block: n
        for block in set(range(job.blocks)) - complete - whole
        if (n := len(finished & set(range(*job.block_range(block)))))
    }


@given(st.integers(1, 10**15))
def test_a_job_has_at_most_a_thousand_blocks_and_none_smaller_than_it_must_be(chunks: int) -> None:
    job = plan(chunks, block_height(chunks))
    assert job.blocks <= 1024
    assert job.blocks == 1 or 1 << job.block_height >= 16
    assert job.block_height <= 4 or job.blocks > 512

"""Messages arrive whole or not at all, and a frozen sender stops nobody."""

from __future__ import annotations

import os
import socket
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from gristmill import settings
from gristmill.worker.capture import Captured, Log, TaggedOutput
from gristmill.worker.channel import Channel
from gristmill.worker.marker import Marker


@pytest.fixture
def pair() -> Iterator[tuple[Channel, Channel]]:
    left, right = socket.socketpair()
    with left, right:
        yield Channel(left), Channel(right)


def test_messages_arrive_in_order_and_the_end_is_seen(pair: tuple[Channel, Channel]) -> None:
    ours, theirs = pair
    theirs.send("a", 1, b"\x00\xff")
    theirs.send("b")
    assert list(ours.drain()) == [["a", 1, b"\x00\xff"], ["b"]]
    theirs.send("last")
    theirs.close()
    got = []
    with pytest.raises(ConnectionError):
        got.extend(message for message in ours.drain())
    assert got == [] or got == [["last"]]


def test_half_a_message_is_kept_and_nobody_waits_for_the_rest(pair: tuple[Channel, Channel]) -> None:
    ours, theirs = pair
    theirs.sock.sendall(b"\x05\x00")
    assert list(ours.drain()) == []
    theirs.sock.sendall(b"\x00\x00\x94\x01\x02")
    assert list(ours.drain()) == []
    theirs.sock.sendall(b"\x03\x04")
    assert list(ours.drain()) == [[1, 2, 3, 4]]


def test_a_large_message_passes_while_the_other_side_drains(pair: tuple[Channel, Channel]) -> None:
    ours, theirs = pair
    data = os.urandom(70 << 20)
    sender = threading.Thread(target=theirs.send, args=("done", data))
    sender.start()
    got: list[list[object]] = []
    while not got:
        got += ours.drain()
    sender.join()
    assert got == [["done", data]]
    ours.send("lease", {"start": 1})
    assert theirs.receive() == ["lease", {"start": 1}]
    ours.close()
    assert theirs.receive() is None


def test_printed_lines_know_their_stream_and_chunk() -> None:
    read, write = os.pipe()
    chunk = 7
    raw = TaggedOutput("stdout", write, lambda: chunk)
    out = raw.text()
    captured = Captured(read)
    print("one\ntwo", file=out)
    print("three ", end="", file=out)
    os.write(write, b"raw from C\n\x1ebinary\x1fgarbage\n")
    chunk = 8
    raw.flush_rest()
    records = [(r["stream"], r["chunk"], r["text"]) for r in captured.read(99)]
    assert records == [
        ("stdout", 7, "one"),
        ("stdout", 7, "two"),
        ("raw", 99, "raw from C"),
        ("raw", 99, "\x1ebinary\x1fgarbage"),
        ("stdout", 8, "three "),
    ]
    assert captured.tail().startswith("raw from C\n")


def test_a_log_is_bounded_and_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(settings, "LOG_BYTES", 200)
    log = Log.in_folder(tmp_path, "w")
    for _ in range(100):
        log.write({"stream": "stdout", "text": "x" * 30})
    log.close()
    text = (tmp_path / "w.jsonl").read_text()
    assert len(text) < 400
    assert "dropped" in text.splitlines()[-1]


def test_a_marker_is_seen_by_another_process() -> None:
    marker = Marker()
    assert (marker.chunk, marker.running_seconds) == (-1, 0.0)
    pid = os.fork()
    if pid == 0:
        marker.at(41, exact=True)
        marker.has_items(5)
        marker.at_item(3)
        os._exit(0)
    os.waitpid(pid, 0)
    assert (marker.chunk, marker.exact, marker.item, marker.items) == (41, True, 3, 5)
    assert marker.running_seconds > 0


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="this system has no /dev/full")
def test_a_log_on_a_full_disk_is_given_up_in_silence() -> None:
    log = Log(open("/dev/full", "ab"))  # noqa: SIM115 (the log closes it)
    log.write({"text": "x"})
    log.write({"text": "y"})
    log.close()

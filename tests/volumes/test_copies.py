"""Reading copies from the servers that have them: whom the addresses are asked of, and how often."""

from __future__ import annotations

from types import SimpleNamespace

import pytest

from gristmill.volumes.filer import copies
from gristmill.volumes.filer.copies import Copies
from gristmill.volumes.filer.entries import Chunk

CHUNK = Chunk("1,00", 0, 4)


class Rig:
    """Copies on servers whose addresses somebody tells, and a clock."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.addresses = ["http://a", "http://b"]
        #: how often the addresses were asked for
        self.asked = 0
        self.now = 1000.0
        self.away: set[str] = set()
        monkeypatch.setattr(copies, "time", SimpleNamespace(monotonic=lambda: self.now))
        self.copies = Copies("key", self._tell)
        monkeypatch.setattr(self.copies, "_ask", self._ask)

    def _tell(self) -> list[str]:
        self.asked += 1
        return list(self.addresses)

    def _ask(self, server: str, fid: str, start: int, stop: int) -> bytes | None:
        if server not in self.away:
            return server[-1:].encode()
        self.copies._miss(server)
        return None

    def read(self) -> bytes:
        """Return which servers have a copy."""
        return b"".join(self.copies.read([CHUNK], 0, 4))


@pytest.fixture
def rig(monkeypatch: pytest.MonkeyPatch) -> Rig:
    return Rig(monkeypatch)


def test_addresses_are_not_asked_for_at_every_block(rig: Rig) -> None:
    assert {rig.read() for _ in range(10)} == {b"ab"}
    assert rig.asked == 1
    rig.addresses.append("http://c")
    rig.now += 21
    assert rig.read() == b"abc"
    assert rig.asked == 2


def test_they_are_asked_for_where_a_server_does_not_answer(rig: Rig) -> None:
    """It may have been started again, at another address."""
    rig.read()
    rig.away, rig.addresses = {"http://a"}, ["http://b", "http://c"]
    assert rig.read() == b"b"
    assert rig.read() == b"bc"
    assert rig.asked == 2
    rig.addresses.append("http://a")
    rig.copies.take_unreached()
    assert {rig.read() for _ in range(10)} == {b"bc"}
    assert rig.asked == 3
    assert rig.copies.take_unreached() == ["http://a"]


def test_they_are_asked_for_while_none_is_known(rig: Rig) -> None:
    known, rig.addresses = rig.addresses, []
    assert rig.read() == b""
    rig.addresses = known
    assert rig.read() == b"ab"
    assert rig.copies.take_unreached() == ["all servers (no address of one is known)"]

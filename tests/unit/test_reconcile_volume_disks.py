"""Which disks without a server are to have one."""

from __future__ import annotations

from dataclasses import replace

import pytest
from tests.unit.volume_builders import claim, observed

from gristmill.reconcilers.volume_disks import servers_needed


@pytest.mark.parametrize(("number", "servers"), [(3, 4), (4, 5), (99, 100), (100, 4), (5_000_000, 4)])
def test_a_disk_has_a_server_where_a_spec_could_have_asked_for_it(number: int, servers: int) -> None:
    """Whoever may make claims can give one any name."""
    seen = observed()
    assert servers_needed(replace(seen, claims=[*seen.claims, claim("server", number)])) == servers

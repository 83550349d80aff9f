"""Disks that have no server (any more): which are to have one again, and which are given up."""

from __future__ import annotations

from typing import Any

from gristmill.api.filevolume import MOST_SERVERS
from gristmill.reconcilers.volume_access import Part
from gristmill.reconcilers.volume_observed import VolumeObserved, is_emptied, is_going, replicas_of


def servers_needed(observed: VolumeObserved) -> int:
    """Return how many servers there must be at least: what the spec says, and one for each disk that has files.

    Disks that are there keep their servers, whoever left them: an earlier FileVolume had more, say. None had more than
    a spec may ask for: a claim with a larger number is somebody else's.
    """
    there = replicas_of(observed.set_of(Part.SERVER))
    kept = (
        number + 1
        for number, claim in observed.claims_of(Part.SERVER).items()
        if there <= number < MOST_SERVERS and not is_emptied(claim) and not is_going(claim)
    )
    return max(observed.spec.servers, *kept, 0)


def given_up(observed: VolumeObserved) -> dict[int, dict[str, Any]]:
    """Return the claims of servers that were emptied and are to be no more, by their numbers."""
    there = replicas_of(observed.set_of(Part.SERVER))
    return {
        number: claim
        for number, claim in observed.claims_of(Part.SERVER).items()
        if number >= there > 0 and is_emptied(claim) and not is_going(claim)
    }

"""A FileVolume says how much it keeps, on how many servers, how often; what it leaves out has a default."""

from __future__ import annotations

from typing import Any

import pytest
from tests.builders import file_volume

from gristmill.api.filevolume import FileVolume
from gristmill.api.manifest import load_manifest, load_resource
from gristmill.api.quantity import rounded_quantity
from gristmill.errors import ManifestError


def load(**spec: Any) -> FileVolume:
    loaded = load_resource(file_volume(**spec))
    assert isinstance(loaded, FileVolume)
    return loaded


def test_defaults() -> None:
    spec = load(storage="1Gi").spec
    assert (spec.storage, spec.servers, spec.copies, spec.masters) == (2**30, 4, 3, 1)
    assert (spec.deletion_policy, spec.topology_key, spec.storage_class_name) == ("Retain", None, None)
    assert (spec.filer_size, spec.master_size) == (2**30, 2**30)


def test_the_filers_volume_has_the_size_that_is_said() -> None:
    assert load(filer={"size": "20Gi"}).spec.filer_size == 20 * 2**30


@pytest.mark.parametrize(
    ("servers", "copies", "right"), [(2, 1, True), (6, 5, True), (5, 5, False), (4, 5, False)]
)
def test_servers_are_more_than_copies(servers: int, copies: int, right: bool) -> None:
    if right:
        assert load(servers=servers, copies=copies).spec.servers == servers
        return
    with pytest.raises(ManifestError, match=r"^spec\.servers: must be more than copies"):
        load(servers=servers, copies=copies)


def test_it_is_no_chunk_job() -> None:
    with pytest.raises(ManifestError, match=r"^kind: must be ChunkJob, got 'FileVolume'$"):
        load_manifest(file_volume())


@pytest.mark.parametrize(
    ("number", "said"),
    [
        (0, "0"),
        (9999, "9999"),
        (10_239, "10239"),
        (10_240, "10Ki"),
        (10 * 2**20 - 1, "10239Ki"),
        (2**30, "1024Mi"),
        (98 * 2**30 + 12345, "98Gi"),
        (9 * 2**40, "9216Gi"),
        (20 * 2**50, "20Pi"),
    ],
)
def test_sizes_for_people(number: int, said: str) -> None:
    assert rounded_quantity(number) == said

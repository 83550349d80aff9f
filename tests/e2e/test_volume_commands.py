"""`gristmill volume` on a cluster: by port-forwards to a FileVolume's pods, with its key, from outside."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import yaml
from tests.e2e.kube import Kube, kubectl, until
from tests.e2e.volumes import SMALL, await_ready, await_whole, file_volume, volume
from tests.volumes.builders import MIB, content

pytestmark = pytest.mark.timeout(600)


@pytest.fixture
def files(kube: Kube) -> str:
    """Return the URL of a FileVolume."""
    kube.apply(file_volume(deletionPolicy="Delete", **SMALL))
    await_ready(kube)
    await_whole(kube, 3)
    return "volume://files"


def test_files_from_outside_and_back(kube: Kube, files: str, tmp_path: Path) -> None:
    where = ("-n", kube.namespace)
    data_of = {"small": b"1", "ä b/large": content(9 * MIB), "middle": content(100_000)}
    for name, data in data_of.items():
        (tmp_path / "source" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "source" / name).write_bytes(data)
    done = volume("put", str(tmp_path / "source"), f"{files}/in", *where)
    assert done.stdout == f"{files}/in: 3 files, 9.5 MB\n"
    listed = [json.loads(line) for line in volume("ls", "-r", "--json", files, *where).stdout.splitlines()]
    assert {one["url"]: one["bytes"] for one in listed} == {
        f"{files}/in/{name}": len(data) for name, data in data_of.items()
    }
    volume("get", f"{files}/in", str(tmp_path / "back"), *where)
    for name, data in data_of.items():
        assert (tmp_path / "back" / name).read_bytes() == data
    assert "all is as it was written" in volume("verify", files, *where).stdout
    assert volume("rm", "-r", f"{files}/in", *where).stdout == "3 files removed\n"
    assert "2 contents removed" in volume("gc", "--grace", "0", files, *where).stdout


def test_what_is_not_there(kube: Kube, files: str, tmp_path: Path) -> None:
    where = ("-n", kube.namespace)
    told = volume("ls", "volume://nix", *where, code=2).stderr
    assert f"there is no FileVolume nix in the namespace {kube.namespace}" in told
    kube.ctl("create", "serviceaccount", "nobody")
    config = yaml.safe_load(kubectl("config", "view", "--raw", "--minify", "--flatten"))
    config["users"][0]["user"] = {"token": kube.ctl("create", "token", "nobody").strip()}
    (tmp_path / "config").write_text(yaml.safe_dump(config))
    told = volume("ls", files, *where, code=1, KUBECONFIG=str(tmp_path / "config")).stderr
    assert f"you lack a right in the namespace {kube.namespace}" in told
    quota = {"apiVersion": "v1", "kind": "ResourceQuota", "metadata": {"name": "none"}}
    kube.apply({**quota, "spec": {"hard": {"pods": "0"}}}, file_volume("other", **SMALL))
    until(lambda: kube.get("secret", "other-volume"))
    told = volume("ls", "volume://other", *where, code=2).stderr
    assert "the filer of FileVolume other is not ready: `kubectl describe" in told


def test_a_byte_that_changes_on_one_disk_is_found_read_around_and_mended(
    kube: Kube, files: str, tmp_path: Path
) -> None:
    where = ("-n", kube.namespace)
    (tmp_path / "large").write_bytes(content(9 * MIB))
    volume("put", str(tmp_path / "large"), f"{files}/large", *where)
    _damage(kube)
    volume("get", f"{files}/large", str(tmp_path / "back"), *where)
    assert (tmp_path / "back").read_bytes() == (tmp_path / "large").read_bytes()
    assert "large" in volume("verify", files, *where, code=1).stdout
    volume("verify", "--repair", files, *where)
    assert "all is as it was written" in volume("verify", files, *where).stdout


def _damage(kube: Kube) -> None:
    """Overwrite bytes in the middle of the largest file of one server."""
    largest = "ls -S /data/*.dat | head -1"
    script = (
        f"f=$({largest}); dd if=/dev/zero of=$f bs=1k count=64 seek=2000 conv=notrunc; sync; stat -c %s $f"
    )
    for number in range(3):
        pod = ("exec", f"files-server-{number}", "-c", "server", "--", "sh", "-c")
        if int(kube.ctl(*pod, f"stat -c %s $({largest})")) > 3 * MIB:
            kube.ctl(*pod, script)
            return
    raise AssertionError("no server has much")

"""One pass over a FileVolume: gather what is there, have it decided, do it, show it."""

from __future__ import annotations

import asyncio
import logging
import time
from dataclasses import replace
from typing import Any

from gristmill.api.names import DISKS_FINALIZER, FILE_VOLUME_KIND, KIND
from gristmill.controllers.cluster import ApiError, Cluster, Gone, NameTaken, Outdated
from gristmill.controllers.config import Config
from gristmill.controllers.finalizers import set_finalizer
from gristmill.controllers.kept_secrets import KeptSecrets
from gristmill.controllers.master_link import MasterLink
from gristmill.controllers.statuses import Statuses
from gristmill.controllers.world import Key, World
from gristmill.reconcilers import actions
from gristmill.reconcilers.job_volumes import uses
from gristmill.reconcilers.objects import UID
from gristmill.reconcilers.showing import worth_writing
from gristmill.reconcilers.volume import VolumeSettings, decide
from gristmill.reconcilers.volume_access import PORTS, Part, fingerprint, mending, secret
from gristmill.reconcilers.volume_chores import leaver
from gristmill.reconcilers.volume_claims import storage_of
from gristmill.reconcilers.volume_objects import claim_labels
from gristmill.reconcilers.volume_observed import VolumeObserved
from gristmill.reconcilers.volume_pods import sizes_of
from gristmill.reconcilers.volume_status import is_ready, status
from gristmill.reconcilers.volume_topology import NOT_ANSWERS, Topology, topology_of, volumes_on

log = logging.getLogger(__name__)

#: what a FileVolume has that is listed in each pass: few of them are there, so that a watch would cost more
_KINDS = ("StatefulSet", "Service", "PodDisruptionBudget", "NetworkPolicy", "Job", "Pod")
#: seconds between two tries to make an object whose name is somebody else's
_TAKEN_SECONDS = 2.0
#: seconds until the API server is asked again for what it refused
_REFUSED_SECONDS = 5.0
#: seconds until a look at what has changed, or is gone
_SOON_SECONDS = 0.2


class Volumes:
    """Reconciles FileVolumes."""

    def __init__(self, config: Config, cluster: Cluster, world: World, link: MasterLink) -> None:
        self._settings = VolumeSettings(config.seaweedfs_image, config.namespace)
        self._cluster = cluster
        self._world = world
        self._link = link
        self._statuses = Statuses(cluster, world, config.identity)
        self._secrets = KeptSecrets(cluster, secret, mending, fingerprint)

    async def reconcile(self, key: Key) -> float | None:
        """Look at one FileVolume; return in how many seconds to look again."""
        try:
            return await self._reconcile(key)
        except (Gone, Outdated):
            return _SOON_SECONDS

    def users(self, key: Key) -> list[str]:
        """Return the ChunkJobs that read or write a FileVolume and have not ended."""
        namespace, name = key
        return sorted(
            job["metadata"]["name"]
            for job in self._world.all(KIND)
            if job["metadata"]["namespace"] == namespace and uses(job, name)
        )

    def is_news(self, key: Key) -> bool:
        """Whether a FileVolume is being deleted, and no ChunkJob keeps it any more."""
        volume = self._world.get(FILE_VOLUME_KIND, key)
        going = volume is not None and bool(volume["metadata"].get("deletionTimestamp"))
        return going and not self.users(key)

    async def _reconcile(self, key: Key) -> float | None:
        volume = self._world.get(FILE_VOLUME_KIND, key)
        if volume is None:
            self._secrets.forget(key)
            return None
        taken, refused, undone = "", "", []
        observed = await self._observe(volume)
        if not volume["metadata"].get("deletionTimestamp"):
            try:
                fresh = await self._secrets.keep(volume, serves=is_ready(observed))
                observed = replace(observed, key=fresh)
            except NameTaken as error:
                taken = str(error)
            except ApiError as error:
                refused = str(error)
        now = time.time()
        decision = decide(observed, self._settings, now)
        for action in decision.actions:
            try:
                await self._do(action, volume)
            except NameTaken as error:
                taken = str(error)
            except ApiError as error:
                log.warning("%s/%s: refused: %s", *key, error)
                if (
                    isinstance(action, actions.Patch)
                    and action.kind == "PersistentVolumeClaim"
                    and not observed.is_leaving
                ):
                    undone.append(f"{action.name} can't be changed: {error}")
                else:
                    refused = str(error)
        if decision.status is None and not refused:
            return decision.again
        await self._show(volume, status(observed, now, taken, refused, undone))
        return _TAKEN_SECONDS if taken else _REFUSED_SECONDS if refused else decision.again

    async def _observe(self, volume: dict[str, Any]) -> VolumeObserved:
        metadata = volume["metadata"]
        namespace, name = metadata["namespace"], metadata["name"]
        bare = VolumeObserved(resource=volume, users=self.users((namespace, name)))
        own = f"{UID}={metadata['uid']}"
        claims = ",".join(f"{label}={value}" for label, value in claim_labels(name).items())
        try:
            *listed, there = await asyncio.gather(
                *(self._cluster.list(kind, namespace, labelSelector=own) for kind in _KINDS),
                self._cluster.list("PersistentVolumeClaim", namespace, labelSelector=claims),
            )
        except ApiError as error:
            if error.status == 403 and bare.is_leaving and await self._is_ending(namespace):
                return bare  # (all that was made for it goes by itself, as the right to see it has gone)
            raise
        observed = replace(bare, objects=dict(zip(_KINDS, listed, strict=True)), claims=there)
        if observed.is_leaving:  # (what is to be done then does not depend on what masters say)
            return observed
        observed = replace(observed, topology=await self._topology(observed))
        going = leaver(observed)
        if going and observed.topology and going not in observed.topology.servers:
            observed = replace(observed, on_last=await self._on_server(observed, going))
        return observed

    async def _is_ending(self, namespace: str) -> bool:
        """Whether a namespace is being deleted, or has been."""
        found = await self._cluster.get("Namespace", "", namespace)
        return found is None or bool(found["metadata"].get("deletionTimestamp"))

    async def _topology(self, observed: VolumeObserved) -> Topology | None:
        """Ask the masters, one after the other: each passes a question on to the one that leads."""
        limit = sizes_of(storage_of(observed)).limit
        for pod in observed.pods_of(Part.MASTER):
            if not (address := (pod.get("status") or {}).get("podIP")):
                continue
            port = PORTS[Part.MASTER]
            servers = await self._link.ask(address, port, "/dir/status")
            volumes = await self._link.ask(address, port, "/vol/status")
            try:
                return topology_of(servers, volumes, observed.spec.copies, limit)
            except NOT_ANSWERS:
                continue
        return None

    async def _on_server(self, observed: VolumeObserved, name: str) -> int | None:
        """Ask a server how many of SeaweedFS's volumes it has."""
        for pod in observed.pods_of(Part.SERVER):
            address = (pod.get("status") or {}).get("podIP")
            if pod["metadata"]["name"] == name and address:
                answer = await self._link.ask(address, PORTS[Part.SERVER], "/status")
                try:
                    return volumes_on(answer)
                except NOT_ANSWERS:
                    return None
        return None

    async def _do(self, action: actions.Action, volume: dict[str, Any]) -> None:
        namespace, name = volume["metadata"]["namespace"], volume["metadata"]["name"]
        match action:
            case actions.SetFinalizer(on):
                log.info("%s/%s: finalizer %s", namespace, name, on)
                await set_finalizer(
                    self._cluster, self._world, FILE_VOLUME_KIND, volume, DISKS_FINALIZER, on=on
                )
            case actions.Create(manifest):
                log.info("%s/%s: make %s %s", namespace, name, manifest["kind"], manifest["metadata"]["name"])
                await self._cluster.create(manifest)
            case actions.Patch(kind, one, uid, body):
                log.info("%s/%s: change %s %s", namespace, name, kind, one)
                await self._cluster.patch(kind, namespace, one, body, uid=uid)
            case actions.Delete(kind, one, uid, version):
                log.info("%s/%s: delete %s %s", namespace, name, kind, one)
                await self._cluster.delete(kind, namespace, one, uid=uid, version=version)

    async def _show(self, volume: dict[str, Any], new: dict[str, Any]) -> None:
        if worth_writing(volume.get("status") or {}, new, 60, 60) is not None:
            await self._statuses.write(FILE_VOLUME_KIND, volume, new)

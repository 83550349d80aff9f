"""Whose folder is it: the plan at its root says which job's, and no other job writes there."""

from __future__ import annotations

from gristmill.errors import OutputError
from gristmill.planning.plan import Plan
from gristmill.sinks import layout
from gristmill.sinks.store import Store, open_store


def load_plan(url: str) -> Plan | None:
    """Return the plan of the job that owns an output folder, or None. OutputError when it can't be read."""
    return plan_in(open_store(url))


def save_plan(url: str, plan: Plan, *, on_cluster: bool = False) -> Plan:
    """Write the plan unless there is one, and return the one that holds: the first that was written.

    OutputError when the folder is another job's, or has results that no plan speaks of; `on_cluster` it names no
    options of the command line.
    """
    store = open_store(url)
    found = plan_in(store)
    if found is None:
        foreign = sorted(name for name in store.list() if layout.is_output(name))
        if foreign:
            raise OutputError(
                f"{url} has {foreign[0]}, which is not of this job; choose another output folder"
            )
        draft = store.draft()
        try:
            draft.write(plan.to_json())
            if store.claim(draft, layout.PLAN):
                return plan
        finally:
            draft.discard()
        found = plan_in(store)
    if found is None:
        raise OutputError(f"{url}: the plan disappeared while it was written")
    if found.work_digest != plan.work_digest:
        anew = "empty it" if on_cluster else "start anew with --fresh, which removes it"
        raise OutputError(
            f"{url} has the output of a job with another spec; choose another output folder, or {anew}"
        )
    return found


def remove_output(url: str) -> None:
    """Remove what a job wrote to a folder, and nothing else; without plan and manifest there is nothing of a job's."""
    store = open_store(url)
    if store.read(layout.PLAN) is None and store.read(layout.MANIFEST) is None:
        return
    store.remove(layout.MANIFEST)
    for name in store.list():
        if layout.is_output(name):
            store.remove(name)
    for folder in (layout.PARTS, layout.BLOCKS, layout.VALUES, layout.TEMPORARY, layout.CODE):
        store.remove(folder)
    store.remove(layout.PLAN)
    store.remove(layout.FOLDER)


def plan_in(store: Store) -> Plan | None:
    """Return the plan in a folder, or None. OutputError where it is none."""
    data = store.read(layout.PLAN)
    if data is None:
        return None
    try:
        return Plan.from_json(data)
    except (ValueError, TypeError) as error:
        raise OutputError(f"{store.url}/{layout.PLAN} is not a plan: {error}") from error

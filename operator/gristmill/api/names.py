"""Words that Kubernetes, the local runner and users share: what is written once can't be misspelt."""

from __future__ import annotations

from enum import StrEnum

GROUP = "gristmill.dev"
VERSION = "v1alpha1"
API_VERSION = f"{GROUP}/{VERSION}"
CATEGORY = "gristmill"

KIND = "ChunkJob"
PLURAL = "chunkjobs"
SINGULAR = "chunkjob"
SHORT_NAME = "chj"

#: held until what is outside Kubernetes is gone: the job's keys and user in the queue
FINALIZER = f"{GROUP}/queue"

CACHE_KIND = "Cache"
CACHE_PLURAL = "caches"
CACHE_SINGULAR = "cache"
CACHE_SHORT_NAME = "gcache"

FILE_VOLUME_KIND = "FileVolume"
FILE_VOLUME_PLURAL = "filevolumes"
FILE_VOLUME_SINGULAR = "filevolume"
FILE_VOLUME_SHORT_NAME = "fvol"

#: held by a FileVolume until no ChunkJob reads or writes it, and Kubernetes knows what becomes of its disks
DISKS_FINALIZER = f"{GROUP}/disks"


class ConditionType(StrEnum):
    """The types of `status.conditions`."""

    PLANNED = "Planned"
    PROGRESSING = "Progressing"
    COMPLETE = "Complete"
    FAILED = "Failed"
    SUSPENDED = "Suspended"
    SPEC_CHANGED = "SpecChanged"
    # of a Cache and of a FileVolume
    READY = "Ready"
    DEGRADED = "Degraded"


class Reason(StrEnum):
    """The reasons of conditions: one word for programs; the message beside it is for people."""

    # Planned
    PLANNING = "Planning"
    PLAN_WRITTEN = "PlanWritten"
    # Progressing
    RUNNING = "Running"
    FINISHING = "Finishing"
    FINISHED = "Finished"
    # Complete
    ALL_SUCCEEDED = "AllSucceeded"
    FAILURES_TOLERATED = "FailuresTolerated"
    # Failed
    TOO_MANY_FAILURES = "TooManyFailures"
    DEADLINE_EXCEEDED = "DeadlineExceeded"
    INPUT_UNREADABLE = "InputUnreadable"
    INPUT_CHANGED = "InputChanged"
    CODE_CHANGED = "CodeChanged"
    LOAD_FAILED = "LoadFailed"
    OUTPUT_FAILED = "OutputFailed"
    WORKERS_CRASH = "WorkersCrash"
    INVALID_SPEC = "InvalidSpec"
    # Progressing: what is in the way
    QUEUE_UNREACHABLE = "QueueUnreachable"
    IMAGE_UNAVAILABLE = "ImageUnavailable"
    PODS_NOT_STARTED = "PodsNotStarted"
    PODS_REFUSED = "PodsRefused"
    QUOTA_EXCEEDED = "QuotaExceeded"
    REFUSED = "Refused"
    UNSCHEDULABLE = "Unschedulable"
    JOB_SUSPENDED = "JobSuspended"
    REMOVING = "Removing"
    AWAITING_COLLECTION = "AwaitingCollection"
    NO_SUCH_VOLUME = "NoSuchVolume"
    # SpecChanged
    NOT_TAKEN_OVER = "NotTakenOver"
    # Suspended
    SUSPENDED_BY_SPEC = "SuspendedBySpec"
    RESUMED = "Resumed"
    # Ready
    SERVING = "Serving"
    UPDATING = "Updating"
    STARTING = "Starting"
    NAME_TAKEN = "NameTaken"
    IN_USE = "InUse"
    # Degraded
    ALL_COPIES = "AllCopies"
    SERVERS_MISSING = "ServersMissing"
    COPIES_MISSING = "CopiesMissing"
    UNKNOWN = "Unknown"

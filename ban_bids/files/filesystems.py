"""What kind of file system a folder lies on."""

from __future__ import annotations

from functools import cache
from pathlib import Path

import psutil

_OF_ONE_MACHINE = frozenset(
    ("ext2", "ext3", "ext4", "xfs", "btrfs", "zfs", "bcachefs", "f2fs", "jfs", "reiserfs", "tmpfs", "ramfs", "overlay")
    + ("squashfs", "vfat", "exfat", "ntfs", "ntfs3", "fuseblk", "apfs", "hfs")
)
"""Disks and memory of this machine: nobody else writes there, and its locks are seen by all who do."""


def shared_between_machines(folder: Path) -> bool:
    """Whether other machines may write in a folder too: NFS, Lustre, BeeGFS, GPFS, CIFS, whatever is not known.

    Their locks may be none, or, by options that a user does not see, of one machine only (``local_lock`` of NFS,
    ``localflock`` of Lustre, the defaults of BeeGFS and of most file systems in user space).
    """
    kind = _kind(folder.resolve())
    return kind is not None and kind not in _OF_ONE_MACHINE


@cache
def _kind(folder: Path) -> str | None:
    """Name of the file system, or None where no list of mounts tells."""
    try:
        kinds = {Path(mount.mountpoint): mount.fstype for mount in psutil.disk_partitions(all=True)}
    except OSError:  # no /proc
        return None
    return next((kinds[place] for place in (folder, *folder.parents) if place in kinds), None)

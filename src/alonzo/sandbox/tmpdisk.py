"""/tmp: a file system of exactly the size asked for, whose contents are not charged to the function's memory.

As root it is a loop device on an unlinked, sparse copy of an ext4 template: nothing has a name, so nothing is left when
the host dies. Otherwise it is a tmpfs of that size. Either way a new one is never given another environment's files:
an image is a fresh copy of the template and is thrown away afterwards.
Source: loop(4), linux/loop.h, ext4(5).
"""

# pathlib is too large for the host.
# ruff: noqa: PTH101, PTH102, PTH106, PTH108, PTH115
from __future__ import annotations

import contextlib
import errno
import fcntl
import os
import struct

from alonzo.sandbox import syscalls
from alonzo.sandbox.syscalls import MOUNT_ATTR_NOATIME, MOUNT_ATTR_NODEV, MOUNT_ATTR_NOSUID

_LOOP_CTL_GET_FREE, _LOOP_CONFIGURE, _LOOP_CLR_FD = 0x4C82, 0x4C0A, 0x4C01
_LO_FLAGS_AUTOCLEAR = 4
_EXT4_IOC_SHUTDOWN, _EXT4_GOING_FLAGS_NOLOGFLUSH = 0x8004587D, 2
_ATTRIBUTES = MOUNT_ATTR_NOSUID | MOUNT_ATTR_NODEV | MOUNT_ATTR_NOATIME
#: Free space that /tmp images leave on the disk they lie on.
_RESERVE = 256 << 20


class DiskFull(Exception):
    """The machine's disk has no room for another /tmp; the message says where."""


def _attach(image: int) -> int:
    """A loop device on the open file `image`, as a descriptor; it detaches itself when nothing uses it any more."""
    control = os.open("/dev/loop-control", os.O_RDWR | os.O_CLOEXEC)
    try:
        for _ in range(64):
            number = fcntl.ioctl(control, _LOOP_CTL_GET_FREE)
            device = os.open(f"/dev/loop{number}", os.O_RDWR | os.O_CLOEXEC)
            # loop_config: fd, block size, loop_info64 (lo_flags at offset 52 of it), reserved.
            info = struct.pack("=52xI176x", _LO_FLAGS_AUTOCLEAR)
            try:
                fcntl.ioctl(device, _LOOP_CONFIGURE, struct.pack("=II", image, 4096) + info + bytes(64))
                return device
            except OSError as error:
                os.close(device)
                if error.errno != errno.EBUSY:  # somebody else was faster
                    raise
        raise OSError(errno.EBUSY, "no free loop device")
    finally:
        os.close(control)


def _name(device: int) -> str:
    return os.readlink(f"/proc/self/fd/{device}")


class Disk:
    """One /tmp: `mount` is a detached mount for init; `device` (a loop device) or else `path` (a tmpfs) holds it."""

    __slots__ = ("device", "mib", "mount", "path")

    def __init__(self, mib: int, mount: int, path: str, device: int) -> None:
        self.mib = mib
        self.mount = mount
        self.path = path
        self.device = device

    def again(self) -> None:
        """Make it mountable once more, with the contents it has."""
        os.close(self.mount)
        self.mount = _mount_ext4(self.device) if self.device >= 0 else syscalls.clone_tree(self.path)

    def discard(self) -> None:
        """Throw it away. An ext4 that is still dirty would be written out first; the shutdown spares that."""
        if self.device >= 0:
            self._shut_down()
            os.close(self.mount)
            os.close(self.device)
            self.device = self.mount = -1
        else:
            os.close(self.mount)
            with contextlib.suppress(OSError):
                syscalls.umount(self.path)
            with contextlib.suppress(OSError):
                os.rmdir(self.path)

    def _shut_down(self) -> None:
        with contextlib.suppress(OSError):
            top = os.open(".", os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC, dir_fd=self.mount)
            try:
                fcntl.ioctl(top, _EXT4_IOC_SHUTDOWN, struct.pack("=I", _EXT4_GOING_FLAGS_NOLOGFLUSH))
            finally:
                os.close(top)


def _mount_ext4(device: int) -> int:
    # errors=remount-ro: if the disk under it fills up all the same, the function sees a read-only /tmp, not bad data.
    return syscalls.detached_mount("ext4", {"source": _name(device), "errors": "remount-ro"}, _ATTRIBUTES)


class LoopDisks:
    """Makes disks on loop devices; `folder` holds the templates and, unlinked, the images."""

    def __init__(self, folder: str, mkfs: str) -> None:
        self._folder = folder
        self._mkfs = mkfs
        self._templates: dict[int, int] = {}
        self._probe()

    def _probe(self) -> None:
        """OSError if this machine has no loop devices. Formatting a template takes too long to be tried here."""
        image = os.open(self._folder, os.O_TMPFILE | os.O_RDWR | os.O_CLOEXEC, 0o600)
        try:
            os.ftruncate(image, 1 << 20)
            os.close(_attach(image))
        finally:
            os.close(image)

    def _template(self, mib: int) -> int:
        if mib not in self._templates:
            self._templates[mib] = self._format(mib)
        return self._templates[mib]

    def _format(self, mib: int) -> int:
        # ext4's own tables take some 2 % of this; what is left over for files is mib or a little more.
        size = (mib << 20) + (mib << 20) // 32 + (4 << 20)
        path = f"{self._folder}/template-{os.getpid()}-{mib}.ext4"
        image = os.open(path, os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
        try:
            os.ftruncate(image, size)
            features = "^has_journal,^resize_inode"
            lazy = "lazy_itable_init=1,nodiscard,root_owner=0:0"
            arguments = ["mkfs.ext4", "-q", "-F", "-m", "0", "-b", "4096", "-i", "32768"]
            arguments += ["-O", features, "-E", lazy, path]
            actions = [(os.POSIX_SPAWN_OPEN, 1, "/dev/null", os.O_WRONLY, 0), (os.POSIX_SPAWN_DUP2, 1, 2)]
            child = os.posix_spawn(
                self._mkfs, arguments, {"PATH": "/usr/sbin:/sbin:/usr/bin:/bin"}, file_actions=actions
            )
            _, status = os.waitpid(child, 0)
            if status:
                raise OSError(errno.EIO, f"mkfs.ext4 ended with status {os.waitstatus_to_exitcode(status)}")
            self._open_to_all(image)
        except BaseException:
            os.close(image)
            raise
        finally:
            os.unlink(path)
        return image

    def _open_to_all(self, image: int) -> None:
        device = _attach(image)
        try:
            mount = _mount_ext4(device)
            try:
                os.chmod(f"/proc/self/fd/{mount}/.", 0o1777)
                os.rmdir("lost+found", dir_fd=mount)
            finally:
                os.close(mount)
        finally:
            os.close(device)

    def _image(self, mib: int) -> int:
        free = os.statvfs(self._folder)
        if free.f_bavail * free.f_frsize < (mib << 20) + _RESERVE:
            raise DiskFull(f"the disk of {self._folder} has no room for a /tmp of {mib} MiB: free some space there")
        template = self._template(mib)
        size = os.fstat(template).st_size
        image = os.open(self._folder, os.O_TMPFILE | os.O_RDWR | os.O_CLOEXEC, 0o600)
        os.ftruncate(image, size)
        offset = 0
        while offset < size:
            try:
                start = os.lseek(template, offset, os.SEEK_DATA)
            except OSError:  # ENXIO: only a hole from here on
                break
            offset = os.lseek(template, start, os.SEEK_HOLE)
            while start < offset:
                start += os.sendfile(image, template, start, offset - start) if self._seek(image, start) else 0
        return image

    @staticmethod
    def _seek(image: int, position: int) -> bool:
        os.lseek(image, position, os.SEEK_SET)
        return True

    def make(self, mib: int) -> Disk:
        """A new, empty disk."""
        image = self._image(mib)
        try:
            device = _attach(image)
        finally:
            os.close(image)
        try:
            return Disk(mib, _mount_ext4(device), "", device)
        except BaseException:
            os.close(device)
            raise


class MemoryDisks:
    """Makes tmpfs disks, mounted under `folder` in the host's own mount namespace."""

    def __init__(self, folder: str) -> None:
        self._folder = folder
        self._count = 0

    def make(self, mib: int) -> Disk:
        """A new, empty disk."""
        self._count += 1
        path = f"{self._folder}/{self._count}"
        os.mkdir(path)
        flags = syscalls.MS_NOSUID | syscalls.MS_NODEV | syscalls.MS_NOATIME
        try:
            syscalls.mount("tmp", path, "tmpfs", flags, f"size={mib}m,mode=1777,nr_inodes={max(1024, mib * 32)}")
            return Disk(mib, syscalls.clone_tree(path), path, -1)
        except BaseException:
            with contextlib.suppress(OSError):
                syscalls.umount(path)
            os.rmdir(path)
            raise

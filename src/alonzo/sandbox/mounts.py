"""What a function sees of files: a template root that the host builds once, and what each environment adds to it.

The template is a small tmpfs with the machine's read-only system in it (/usr, /lib*, /bin, /sbin), a generated /etc, a
minimal /dev and empty folders. An environment's init, in its own copy of the mounts, adds /proc, makes the template
read-only and pivots into it. That is done ahead of need, because taking the old root away waits for the kernel (RCU:
from 0.3 ms to 90 ms on a loaded machine). /tmp and the Spec's mounts come later: the host attaches them (`show`).

There is no /dev/shm, as on AWS, where POSIX shared memory and named semaphores fail; memory can be shared through
memfd_create or a file in /tmp.
"""

# pathlib is too large for the host.
# ruff: noqa: PTH102, PTH103, PTH110, PTH114, PTH115, PTH120, PTH211, PTH116
from __future__ import annotations

import contextlib
import os
import stat

from alonzo.sandbox import syscalls
from alonzo.sandbox.syscalls import (
    MOUNT_ATTR_NODEV,
    MOUNT_ATTR_NOEXEC,
    MOUNT_ATTR_NOSUID,
    MOUNT_ATTR_RDONLY,
    MS_NODEV,
    MS_NOEXEC,
    MS_NOSUID,
    bind,
    mount,
    restrict_mount,
)

USER = "sbx_user1051"
#: The customary uid and gid of functions, which they have where every environment can have a user namespace's mapping.
USER_ID = 993

READ_ONLY = MOUNT_ATTR_RDONLY | MOUNT_ATTR_NOSUID | MOUNT_ATTR_NODEV
_SYSTEM = ("usr", "bin", "sbin", "lib", "lib32", "lib64", "libx32")
_EMPTY = ("home", "media", "mnt", "opt", "root", "run", "srv", "sys", "proc", "tmp", "dev", "etc")
_VAR = ("task", "runtime", "lang", "tmp", "lib", "log")
_DEVICES = {"null": (1, 3), "zero": (1, 5), "full": (1, 7), "random": (1, 8), "urandom": (1, 9), "tty": (5, 0)}
_LINKS = {"fd": "/proc/self/fd", "stdin": "/proc/self/fd/0", "stdout": "/proc/self/fd/1", "stderr": "/proc/self/fd/2"}
_ETC_FILES = ("ld.so.cache", "ld.so.conf", "localtime", "mime.types", "protocols", "services", "os-release")
_ETC_FOLDERS = ("alternatives", "ssl/certs", "pki/tls/certs", "pki/ca-trust", "pki/java", "crypto-policies", "fonts")
_ETC_JAVA = "java-"
_HIDDEN = ("kcore", "keys", "key-users", "sysrq-trigger", "timer_list", "sched_debug", "kallsyms", "kpagecount",
           "kpageflags", "kpagecgroup", "latency_stats", "config.gz", "vmallocinfo", "slabinfo", "kmsg")  # fmt: skip
_HIDDEN_FOLDERS = ("acpi", "scsi", "asound")
_FIXED_FOLDERS = ("sys", "bus", "fs", "irq", "tty", "driver", "dynamic_debug")
#: Where a Spec may not put a mount: it would hide what the sandbox itself puts there.
_RESERVED = ("proc", "dev", "tmp", "etc", *_SYSTEM)


def _write(path: str, text: str) -> None:
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o644)
    try:
        os.write(descriptor, text.encode())
    finally:
        os.close(descriptor)


def passwd(uid: int, gid: int) -> tuple[str, str]:
    """The texts of /etc/passwd and /etc/group of an environment that runs as `uid` and `gid`."""
    users = f"root:x:0:0:root:/root:/sbin/nologin\n{USER}:x:{uid}:{gid}::/home/{USER}:/sbin/nologin\n"
    groups = f"root:x:0:\n{USER}:x:{gid}:\nnobody:x:65534:\n"
    return f"{users}nobody:x:65534:65534:nobody:/:/sbin/nologin\n", groups


def _copy(source: str, target: str) -> None:
    with contextlib.suppress(OSError):  # absent here, or not for us to read: then it is absent inside too
        descriptor = os.open(source, os.O_RDONLY | os.O_CLOEXEC)
        try:
            os.makedirs(os.path.dirname(target), exist_ok=True)
            out = os.open(target, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o644)
            try:
                while chunk := os.read(descriptor, 1 << 16):
                    os.write(out, chunk)
            finally:
                os.close(out)
        finally:
            os.close(descriptor)


def _isdir(path: str) -> bool:
    try:
        return stat.S_ISDIR(os.stat(path).st_mode)
    except OSError:
        return False


class Template:
    """What `enter` must know of a root; with `path` "" it is the caller's own already (a zygote's)."""

    __slots__ = ("fixed_folders", "hidden", "hidden_folders", "path")

    def __init__(self, path: str, hidden: list[str], hidden_folders: list[str], fixed_folders: list[str]) -> None:
        self.path = path
        self.hidden = hidden
        self.hidden_folders = hidden_folders
        self.fixed_folders = fixed_folders


class Root(Template):
    """The template, at `path` in the host's mount namespace."""

    __slots__ = ("_known",)

    def __init__(self, path: str, *, rootless: bool) -> None:
        self._known: set[tuple[str, bool]] = set()
        options = "mode=755,size=16m,nr_inodes=16k"
        mount("alonzo", path, "tmpfs", MS_NOSUID | (MS_NODEV if rootless else 0), options)
        super().__init__(
            path,
            [name for name in _HIDDEN if os.path.exists(f"/proc/{name}")],
            [name for name in _HIDDEN_FOLDERS if _isdir(f"/proc/{name}")],
            [name for name in _FIXED_FOLDERS if _isdir(f"/proc/{name}")],
        )
        for name in _EMPTY:
            os.mkdir(f"{path}/{name}", 0o755)
        os.mkdir(f"{path}/var")
        for name in _VAR:
            os.mkdir(f"{path}/var/{name}", 0o755)
        self._system()
        self._etc(rootless)
        self._devices(rootless)

    def _system(self) -> None:
        for name in _SYSTEM:
            source, target = f"/{name}", f"{self.path}/{name}"
            if os.path.islink(source):
                os.symlink(os.readlink(source), target)
            elif _isdir(source):
                os.mkdir(target)
                bind(source, target, READ_ONLY)

    def _etc(self, rootless: bool) -> None:
        etc = f"{self.path}/etc"
        users, groups = passwd(USER_ID, USER_ID)
        _write(f"{etc}/passwd", users)
        _write(f"{etc}/group", groups)
        _write(f"{etc}/hosts", "127.0.0.1 localhost\n::1 localhost\n169.254.100.1 sandbox.localdomain sandbox\n")
        _write(f"{etc}/nsswitch.conf", "passwd: files\ngroup: files\nhosts: files dns\nservices: files\n")
        _write(f"{etc}/host.conf", "multi on\n")
        _write(f"{etc}/resolv.conf", "")
        for name in _ETC_FILES:
            _copy(f"/etc/{name}", f"{etc}/{name}")
        _copy("/etc/ssl/openssl.cnf", f"{etc}/ssl/openssl.cnf")
        java = [entry.name for entry in os.scandir("/etc") if entry.name.startswith(_ETC_JAVA)]
        for name in (*_ETC_FOLDERS, *java):
            if _isdir(f"/etc/{name}"):
                os.makedirs(f"{etc}/{name}", exist_ok=True)
                with contextlib.suppress(OSError):
                    bind(f"/etc/{name}", f"{etc}/{name}", READ_ONLY)

    def _devices(self, rootless: bool) -> None:
        umask = os.umask(0)
        try:
            for name, (major, minor) in _DEVICES.items():
                node = f"{self.path}/dev/{name}"
                if rootless:
                    _write(node, "")
                    bind(f"/dev/{name}", node, MOUNT_ATTR_NOSUID | MOUNT_ATTR_NOEXEC)
                else:
                    os.mknod(node, 0o666 | stat.S_IFCHR, os.makedev(major, minor))
        finally:
            os.umask(umask)
        for name, target in _LINKS.items():
            os.symlink(target, f"{self.path}/dev/{name}")

    def prepare(self, mounts: list[tuple[str, str]]) -> None:
        """Make the mount points of (source, target) pairs; ValueError says which is not allowed.

        They stay in the template, empty: which targets other functions use is no secret, and there are few.
        """
        for source, target in mounts:
            parts = target.split("/")
            if parts[0] or len(parts) < 2 or any(part in ("", ".", "..") for part in parts[1:]):
                raise ValueError(f"the mount target {target!r} is not an absolute path in its shortest form")
            if parts[1] in _RESERVED or target == "/var":
                raise ValueError(f"nothing can be mounted at {target!r}: the sandbox has its own files there")
            is_folder = stat.S_ISDIR(os.stat(source).st_mode)
            if (target, is_folder) in self._known:
                continue
            if any(target.startswith(other + "/") for _, other in mounts):
                continue  # lies in another mount, whose source must have it
            self._make_point(target, is_folder)
            self._known.add((target, is_folder))

    def _make_point(self, target: str, is_folder: bool) -> None:
        point = f"{self.path}{target}"
        os.makedirs(point if is_folder else point.rpartition("/")[0], exist_ok=True)
        if not is_folder:
            if _isdir(point):
                raise ValueError(f"{target!r} was a folder before and cannot be a file now")
            _write(point, "")


def enter(root: Template, files: list[tuple[str, str]], trees: list[tuple[int, str]]) -> None:
    """In init, with its own mount and pid namespaces and all capabilities: be in the template, with a /proc.

    `files` are (source, target) pairs that go over files of the template; `trees` are the same for descriptors of
    `clone_tree`, from where the sources cannot be seen any more.
    """
    path = root.path
    for source, target in files:
        bind(source, f"{path}{target}", READ_ONLY, recursive=False)
    for descriptor, target in trees:
        syscalls.attach_mount(descriptor, f"{path}{target}")
        os.close(descriptor)
        restrict_mount(f"{path}{target}", READ_ONLY, recursive=False)
    mount("proc", f"{path}/proc", "proc", MS_NOSUID | MS_NODEV | MS_NOEXEC)
    _mask(root)
    if path:
        pivot(path)


def pivot(path: str) -> None:
    """Make the template at `path` the root, for ever and read-only."""
    restrict_mount(path, MOUNT_ATTR_RDONLY | MOUNT_ATTR_NOSUID, recursive=False)
    os.chdir(path)
    # Both arguments the same: the old root lands on top of the new one, and is taken away from there.
    syscalls.pivot_root(".", ".")
    syscalls.umount(".")
    os.chdir("/")


def _mask(root: Template) -> None:
    """Most of these only root may read or write anyway; the masks hold even if that should fail."""
    proc = f"{root.path}/proc"
    for name in root.hidden:
        mount(f"{root.path}/dev/null", f"{proc}/{name}", None, syscalls.MS_BIND)
    for name in root.hidden_folders:
        bind(f"{root.path}/srv", f"{proc}/{name}", MOUNT_ATTR_RDONLY)
    for name in root.fixed_folders:
        bind(f"{proc}/{name}", f"{proc}/{name}", MOUNT_ATTR_RDONLY)


def hide_init() -> None:
    """In init: let nothing be seen of it in /proc but that it is there."""
    bind("/srv", "/proc/1", MOUNT_ATTR_RDONLY)


def show(targets: list[str], descriptors: list[int]) -> None:
    """In a finished sandbox: /tmp from the first descriptor, and the Spec's mounts, read-only, from the others.

    The host does this from inside the sandbox's mount namespace, with its own privileges, and before the function's
    code can run there: nothing but the template can say where a target leads.
    """
    syscalls.attach_mount(descriptors[0], "/tmp")
    for target, descriptor in zip(targets, descriptors[1:], strict=True):
        syscalls.attach_mount(descriptor, target)
        restrict_mount(target, READ_ONLY)

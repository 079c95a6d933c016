# mypy: ignore-errors
# ruff: noqa: PTH101, PTH102, PTH109, PTH115, PTH123, PTH208, PTH211, B905 - pathlib would be one more import
"""A process that can be kept as a snapshot, and goes on elsewhere: /var/runtime/_alonzo_snapshot.py.

`rest` asks the Runtime API for `restore/next` from a few instructions of machine code that first put the processor's
state away and then wait for the answer. Whoever copies the memory of a process that waits there can let a copy go on,
in another process: in it the code returns as if it had been answered. What the kernel keeps of a process and memory
does not show is written down before, and made again after: signal handlers, timers, limits, open files, /tmp.

All of it runs without privileges, with those of the function. For x86_64.
Source: https://docs.aws.amazon.com/lambda/latest/dg/snapstart.html, System V ABI (registers that calls preserve)
"""

import _signal
import ctypes
import fcntl
import os
import stat
import sys

#: `park(frame)`. The frame has 8 words: stack pointer and address of `resume` (written here), socket, request and its
#: length, room for the answer and its size, and the thread's base address. Answers what read(2) answers, or RESTORED.
_PARK = bytes.fromhex(
    "53 55 4154 4155 4156 4157"  # push   %rbx, %rbp, %r12 ... %r15
    "4883ec08 0fae1c24 d97c2404"  # sub    $8,%rsp; stmxcsr (%rsp); fnstcw 4(%rsp)
    "4889fb 488923"  # mov    %rdi,%rbx; mov %rsp,(%rbx)
    "488d053b000000 48894308"  # lea    resume(%rip),%rax; mov %rax,8(%rbx)
    "488b7b10 488b7318 488b5320"  # mov    16(%rbx),%rdi; 24(%rbx),%rsi; 32(%rbx),%rdx
    "41ba00400000 4531c0 4531c9"  # mov    $MSG_NOSIGNAL,%r10d; xor %r8d,%r8d; xor %r9d,%r9d
    "b82c000000 0f05"  # mov    $44,%eax; syscall            sendto
    "483b4320 753b"  # cmp    32(%rbx),%rax; jne out
    "488b7b10 488b7328 488b5330"  # mov    16(%rbx),%rdi; 40(%rbx),%rsi; 48(%rbx),%rdx
    "31c0 0f05"  # xor    %eax,%eax; syscall           read: here it rests
    "eb29"  # jmp    out
    "488b7738 4889fb"  # resume: mov 56(%rdi),%rsi; mov %rdi,%rbx
    "bf02100000 b89e000000 0f05"  # mov    $ARCH_SET_FS,%edi; $158,%eax; syscall   arch_prctl
    "4c89e7 4c89ee b80b000000 0f05"  # mov    %r12,%rdi; %r13,%rsi; $11,%eax; syscall munmap what brought us here
    "b801000000 48c1e020"  # mov    $1,%eax; shl $32,%rax
    "0fae1424 d96c2404"  # out: ldmxcsr (%rsp); fldcw 4(%rsp)
    "4883c408 415f 415e 415d 415c 5d 5b c3"  # add $8,%rsp; pop %r15 ... %r12, %rbp, %rbx; ret
)
_RESTORED = 1 << 32
_ANSWER = 4096
_TELEMETRY_FD = 62
#: Contents of /tmp and of deleted files that go along, in bytes.
_MOST_KEPT = 64 << 20
#: But for two that the C library keeps for itself.
_EVERY_SIGNAL = [number for number in range(1, 65) if number not in (32, 33)]
_KEPT_FLAGS = os.O_ACCMODE | os.O_APPEND | os.O_NONBLOCK | os.O_DIRECTORY | os.O_PATH | getattr(os, "O_DIRECT", 0)

# System calls of x86_64.
_RT_SIGACTION, _SIGALTSTACK, _ARCH_PRCTL, _SET_TID_ADDRESS = 13, 131, 158, 218
_SET_ROBUST_LIST, _GET_ROBUST_LIST, _PRLIMIT64, _RSEQ = 273, 274, 302, 334
_ARCH_GET_FS, _PR_GET_TID_ADDRESS, _RSEQ_SIGNATURE = 0x1003, 40, 0x53053053
_SO_TYPE, _SO_DOMAIN, _SO_PROTOCOL = 3, 39, 38


class Refused(Exception):
    """This process cannot be kept; the text says why."""


_libc = ctypes.PyDLL(None, use_errno=True)  # with the GIL held: nobody else is to run meanwhile
_syscall = _libc.syscall
_syscall.restype = ctypes.c_long


def _call(number, *arguments):
    return _syscall(number, *(ctypes.c_long(each) if isinstance(each, int) else each for each in arguments))


# -- what the kernel keeps of a thread ---------------------------------------------------------------------------------


class _Thread:
    """The main thread's addresses that the kernel writes to."""

    def __init__(self):
        base = ctypes.c_ulong()
        _call(_ARCH_PRCTL, _ARCH_GET_FS, ctypes.byref(base))
        self.base = base.value
        self._tid = ctypes.c_ulong()
        if _libc.prctl(_PR_GET_TID_ADDRESS, ctypes.byref(self._tid), 0, 0, 0):
            raise Refused("the kernel does not say what it needs for a snapshot (CONFIG_CHECKPOINT_RESTORE)")
        self._robust, self._robust_length = ctypes.c_ulong(), ctypes.c_ulong()
        _call(_GET_ROBUST_LIST, 0, ctypes.byref(self._robust), ctypes.byref(self._robust_length))
        self._rseq, self._rseq_length = self.base, 0
        try:
            self._rseq += ctypes.c_ssize_t.in_dll(_libc, "__rseq_offset").value
            self._rseq_length = ctypes.c_uint.in_dll(_libc, "__rseq_size").value
        except ValueError:
            pass  # before glibc 2.35

    def leave(self):
        """Have the kernel write nothing into the memory to be copied."""
        lengths = {self._rseq_length, 32, 28, 24, 20} if self._rseq_length else ()
        self._rseq_length = next(
            (size for size in lengths if not _call(_RSEQ, self._rseq, size, 1, _RSEQ_SIGNATURE)), 0
        )

    def come(self, moved):
        if self._rseq_length:
            _call(_RSEQ, self._rseq, self._rseq_length, 0, _RSEQ_SIGNATURE)
        if not moved:
            return
        _call(_SET_ROBUST_LIST, self._robust.value, self._robust_length.value)
        if self._tid.value:
            _call(_SET_TID_ADDRESS, self._tid.value)
            ctypes.c_int.from_address(self._tid.value).value = os.getpid()


class _Signals:
    """Dispositions, the alternate stack and timers. Every signal waits from the making of this to `let`."""

    def __init__(self):
        self._mask = _signal.pthread_sigmask(_signal.SIG_BLOCK, _EVERY_SIGNAL)
        self._actions = [ctypes.create_string_buffer(32) for _ in _EVERY_SIGNAL]
        for number, action in zip(_EVERY_SIGNAL, self._actions):
            _call(_RT_SIGACTION, number, 0, action, 8)
        self._stack = ctypes.create_string_buffer(24)
        _call(_SIGALTSTACK, 0, self._stack)
        self._timers = [_signal.getitimer(which) for which in (0, 1, 2)]

    def make_again(self):
        for number, action in zip(_EVERY_SIGNAL, self._actions):
            _call(_RT_SIGACTION, number, action, 0, 8)
        _call(_SIGALTSTACK, self._stack, 0)
        for which, timer in enumerate(self._timers):
            if timer[0]:
                _signal.setitimer(which, *timer)

    def let(self):
        _signal.pthread_sigmask(_signal.SIG_SETMASK, self._mask)


class _Limits:
    def __init__(self):
        self._limits = [ctypes.create_string_buffer(16) for _ in range(16)]
        for which, limit in enumerate(self._limits):
            _call(_PRLIMIT64, 0, which, 0, limit)

    def make_again(self):
        for which, limit in enumerate(self._limits):  # none can be raised
            _call(_PRLIMIT64, 0, which, limit, 0)


# -- files -------------------------------------------------------------------------------------------------------------


class _Tree:
    """What lies in /tmp."""

    def __init__(self):
        self._entries = []
        self.size = 0
        self._read("/tmp")

    def _read(self, folder):
        for entry in os.scandir(folder):
            status = entry.stat(follow_symlinks=False)
            mode, content = status.st_mode, None
            if stat.S_ISLNK(mode):
                content = os.readlink(entry.path)
            elif stat.S_ISREG(mode):
                self.size += status.st_size
                if self.size > _MOST_KEPT:
                    raise Refused(f"/tmp holds more than {_MOST_KEPT >> 20} MiB after initialisation")
                with open(entry.path, "rb") as file:
                    content = file.read()
            elif entry.name == "lost+found" and folder == "/tmp":
                continue
            elif not (stat.S_ISDIR(mode) or stat.S_ISSOCK(mode) or stat.S_ISFIFO(mode)):
                raise Refused(f"{entry.path} is no file")
            self._entries.append((entry.path, mode, (status.st_atime_ns, status.st_mtime_ns), content))
            if stat.S_ISDIR(mode):
                self._read(entry.path)

    def make_again(self):
        for path, mode, _, content in self._entries:
            if stat.S_ISDIR(mode):
                os.mkdir(path)
            elif stat.S_ISLNK(mode):
                os.symlink(content, path)
            elif stat.S_ISREG(mode):
                with open(path, "wb") as file:
                    file.write(content)
            else:
                os.mknod(path, mode)
        for path, mode, times, _ in reversed(self._entries):
            if not stat.S_ISLNK(mode):
                os.chmod(path, stat.S_IMODE(mode))
                os.utime(path, ns=times)
        self._entries = []


class _Files:
    """Open descriptors but those that every environment has, and the one over which the snapshot is asked for."""

    def __init__(self, own):
        outputs = {os.readlink(f"/proc/self/fd/{number}"): number for number in (*own, 2, 1)}
        self._entries = []
        self._pipes = {}
        self._size = 0
        for name in os.listdir("/proc/self/fd"):
            number = int(name)
            if number <= 2 or number in own:
                continue
            try:
                target = os.readlink(f"/proc/self/fd/{name}")
                flags = fcntl.fcntl(number, fcntl.F_GETFL)
            except OSError:
                continue  # the listing's own
            entry = [number, flags, fcntl.fcntl(number, fcntl.F_GETFD), *self._look(number, target, flags, outputs)]
            self._entries.append(entry)
        self._pair()

    def _look(self, number, target, flags, outputs):
        """(how to make it again, with what)."""
        if target in outputs:
            return _again_output, outputs[target]
        if target.startswith("pipe:"):
            self._pipes[target] = None
            return _again_pipe, (self._pipes, target)
        if target.startswith("socket:"):
            return _again_socket, _describe_socket(number, int(target[8:-1]))
        status = os.fstat(number)
        if stat.S_ISREG(status.st_mode) and status.st_nlink == 0:
            self._size += status.st_size
            if self._size > _MOST_KEPT:
                raise Refused(f"deleted files that are open hold more than {_MOST_KEPT >> 20} MiB")
            with open(f"/proc/self/fd/{number}", "rb") as file:
                content = file.read()
            return _again_deleted, (content, os.lseek(number, 0, os.SEEK_CUR))
        if stat.S_ISREG(status.st_mode):
            return _again_file, (target, os.lseek(number, 0, os.SEEK_CUR))
        if stat.S_ISDIR(status.st_mode) or stat.S_ISCHR(status.st_mode):
            return _again_file, (target, 0)
        if target == "anon_inode:[eventpoll]":
            return _again_epoll, _describe_epoll(number)
        if target == "anon_inode:[eventfd]":
            return _again_event, int(_information(number)["eventfd-count"], 16)
        raise Refused(f"descriptor {number} is open on {target}, which cannot be opened again")

    def _pair(self):
        """Unnamed UNIX sockets made together have one inode after the other."""
        by_inode = {entry[4]["inode"]: entry for entry in self._entries if entry[3] is _again_socket}
        for inode, entry in by_inode.items():
            other = by_inode.get(inode + 1)
            if other is not None and entry[4]["pairs"] and other[4]["pairs"] and "peer" not in entry[4]:
                entry[4]["peer"], other[4]["peer"] = other[4], entry[4]

    def make_again(self):
        # Those that epoll watches come before it.
        for number, flags, inheritance, make, what in sorted(self._entries, key=lambda each: each[3] is _again_epoll):
            try:
                made = make(number, flags, what)
            except OSError:
                continue  # as a connection that has died: its next use says so
            if made != number:
                os.dup2(made, number)
                os.close(made)
            if flags & os.O_NONBLOCK:
                fcntl.fcntl(number, fcntl.F_SETFL, fcntl.fcntl(number, fcntl.F_GETFL) | os.O_NONBLOCK)
            fcntl.fcntl(number, fcntl.F_SETFD, inheritance)
        for ends in self._pipes.values():
            for end in ends or ():
                os.close(end)
        self._entries, self._pipes = [], {}


def _out_of_the_way(made):
    """A descriptor whose number is nobody's target."""
    moved = fcntl.fcntl(made, fcntl.F_DUPFD_CLOEXEC, 512)
    os.close(made)
    return moved


def _again_output(number, flags, output):
    return os.dup(output)


def _again_pipe(number, flags, what):
    pipes, name = what
    if pipes[name] is None:
        pipes[name] = [_out_of_the_way(each) for each in os.pipe()]
    return os.dup(pipes[name][1 if flags & os.O_ACCMODE else 0])


def _again_socket(number, flags, what):
    import _socket

    made = what.pop("made", None)
    if made is not None:
        return made
    kind = what["kind"]
    if "peer" in what:
        first, second = _socket.socketpair(*kind)
        what["peer"]["made"] = _out_of_the_way(second.detach())
        return first.detach()
    return _socket.socket(*kind).detach()


def _again_deleted(number, flags, what):
    content, offset = what
    made = os.open("/tmp", os.O_TMPFILE | os.O_RDWR | flags & os.O_APPEND, 0o600)
    os.write(made, content)
    os.lseek(made, offset, os.SEEK_SET)
    return made


def _again_file(number, flags, what):
    path, offset = what
    made = os.open(path, flags & _KEPT_FLAGS)
    if offset:
        os.lseek(made, offset, os.SEEK_SET)
    return made


def _again_epoll(number, flags, targets):
    import select

    poll = select.epoll()
    for target, events in targets:
        poll.register(target, events)
    made = os.dup(poll.fileno())
    poll.close()
    return made


def _again_event(number, flags, count):
    return os.eventfd(count, os.EFD_CLOEXEC)


def _describe_socket(number, inode):
    import _socket

    sock = _socket.socket(fileno=os.dup(number))
    try:
        kind = tuple(sock.getsockopt(_socket.SOL_SOCKET, option) for option in (_SO_DOMAIN, _SO_TYPE, _SO_PROTOCOL))
        pairs = False
        if kind[0] == _socket.AF_UNIX:
            try:
                pairs = not sock.getsockname() and not sock.getpeername()
            except OSError:
                pass
        return {"kind": kind, "inode": inode, "pairs": pairs}
    finally:
        sock.close()


def _describe_epoll(number):
    with open(f"/proc/self/fdinfo/{number}") as file:
        lines = [line.split() for line in file if line.startswith("tfd:")]
    return [(int(words[1]), int(words[3], 16)) for words in lines]


def _information(number):
    with open(f"/proc/self/fdinfo/{number}") as file:
        pairs = (line.partition(":") for line in file)
        return {name: value.strip() for name, _, value in pairs}


# -- resting -----------------------------------------------------------------------------------------------------------


class _State:
    """All that is made again. The first thing that is wrong raises Refused, or OSError."""

    def __init__(self, own):
        if os.uname().machine != "x86_64":
            raise Refused("snapshots are taken on x86_64")
        if len(os.listdir("/proc/self/task")) > 1:
            raise Refused("initialisation has left threads running")
        self._folder = os.getcwd()
        self._mask = os.umask(0o022)
        os.umask(self._mask)
        self._tree = _Tree()
        self._files = _Files(own)
        self._limits = _Limits()
        self._thread = _Thread()
        self.base = self._thread.base
        self._signals = _Signals()  # last: nothing is refused any more, and signals wait

    def leave(self):
        self._thread.leave()

    def come(self, moved):
        """After the rest; `moved`: in another process."""
        self._thread.come(moved)
        if moved:
            self._signals.make_again()
            self._tree.make_again()
            self._files.make_again()
            os.chdir(self._folder)
            os.umask(self._mask)
            self._limits.make_again()
        self._signals.let()


def _map_code():
    place = _libc.mmap
    place.restype = ctypes.c_void_p
    address = place(None, ctypes.c_size_t(4096), 3, 0x22, -1, ctypes.c_long(0))
    if address in (None, ctypes.c_void_p(-1).value):
        raise Refused("no memory")
    ctypes.memmove(address, _PARK, len(_PARK))
    if _libc.mprotect(ctypes.c_void_p(address), ctypes.c_size_t(4096), 5):
        raise Refused("code cannot be placed in memory")
    return address


def _differ():
    """What must not be the same in every copy."""
    if "random" in sys.modules:
        sys.modules["random"].seed()
    if "_ssl" in sys.modules:
        sys.modules["_ssl"].RAND_add(os.urandom(64), 64.0)
    threading = sys.modules.get("threading")
    if threading is not None:
        threading.main_thread()._set_native_id()


def restore_next(client, connection, wrong_status):
    """For AWS's client (`_alonzo_client`, whose connection it is). A copy asks once more, on a connection of its own,
    and is answered when its environment is complete.
    """
    endpoint = "/2018-06-01/runtime/restore/next"
    connection.drop()
    host, _, port = client.lambda_runtime_address.rpartition(":")
    status = None
    try:
        number = _connect(host, int(port))
    except (OSError, ValueError):
        pass
    else:
        head = "GET " + endpoint + " HTTP/1.1\r\nHost: " + client.lambda_runtime_address + "\r\n"
        status = rest(number, head, (_TELEMETRY_FD,))
    if status is None:
        client.call_rapid("GET", endpoint, 200)
    elif status != 200:
        raise wrong_status(endpoint, status, b"")


def _connect(host, port):
    import _socket

    sock = _socket.socket()
    try:
        sock.connect((host, port))
        return sock.detach()
    finally:
        sock.close()


def rest(number, head, own):
    """Ask for `restore/next` over the socket `number`, which is closed then, and wait for the answer.

    `head` is the request without the line that ends it; `own` are descriptors that every environment has. Answers None
    where the process goes on in a copy, else the answer's status.
    """
    state = None
    frame = (ctypes.c_ulong * 8)()
    try:
        code = _map_code()
        state = _State((*own, number))
        frame[7] = state.base
        head += f"Alonzo-Snapshot: {ctypes.addressof(frame):x}\r\n"
    except Exception as error:  # whatever it is, the function goes on without
        code = _map_code()
        text = str(error).encode("ascii", "replace").decode().replace("\r", " ").replace("\n", " ")
        head += f"Alonzo-Snapshot-Refused: {text[:500]}\r\n"
    request = ctypes.create_string_buffer((head + "\r\n").encode())
    answer = ctypes.create_string_buffer(_ANSWER)
    frame[2], frame[3], frame[4] = number, ctypes.addressof(request), len(request) - 1
    frame[5], frame[6] = ctypes.addressof(answer), _ANSWER
    park = ctypes.PYFUNCTYPE(ctypes.c_long, ctypes.c_void_p)(code)
    if state is not None:
        state.leave()
    got = park(ctypes.addressof(frame))
    restored = got == _RESTORED
    if state is not None:
        state.come(restored)
    if restored:
        _differ()
        return None
    os.close(number)
    words = answer.raw[: max(got, 0)].split(b" ", 2)
    return int(words[1]) if len(words) > 2 and words[1].isdigit() else 0

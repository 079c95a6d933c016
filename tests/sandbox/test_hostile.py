"""Hostile functions, as root's host and as an ordinary user's: none gets out, none harms a neighbour."""

from __future__ import annotations

import asyncio
import json
import os
import socket
from typing import Any

import pytest

pytestmark = [pytest.mark.sandbox, pytest.mark.slow]

# Raw system calls by name: numbers of x86_64 and aarch64, and arguments that would work for a privileged process.
CALLS = """
import ctypes, errno, json, os
libc = ctypes.CDLL(None, use_errno=True)
libc.syscall.restype = ctypes.c_long
column = 0 if os.uname().machine == "x86_64" else 1
path = ctypes.create_string_buffer(b"/tmp")
zeros = ctypes.create_string_buffer(4096)
CALLS = {
    "mount": ((165, 40), (path, path, b"tmpfs", 0, 0)),
    "umount": ((166, 39), (path, 2)),
    "pivot_root": ((155, 41), (path, path)),
    "chroot": ((161, 51), (path,)),
    "unshare user": ((272, 97), (0x10000000,)),
    "unshare mount": ((272, 97), (0x20000,)),
    "clone user": ((56, 220), (0x10000000 | 17, 0, 0, 0, 0)),
    "clone net": ((56, 220), (0x40000000 | 17, 0, 0, 0, 0)),
    "clone3": ((435, 435), (zeros, 64)),
    "setns": ((308, 268), (0, 0)),
    "ptrace": ((101, 117), (0, 0, 0, 0)),
    "ptrace attach": ((101, 117), (16, 1, 0, 0)),
    "process_vm_readv": ((310, 270), (1, zeros, 1, zeros, 1, 0)),
    "process_vm_writev": ((311, 271), (1, zeros, 1, zeros, 1, 0)),
    "bpf": ((321, 280), (5, zeros, 128)),
    "perf_event_open": ((298, 241), (zeros, 0, -1, -1, 0)),
    "keyctl": ((250, 219), (0, -3, 0)),
    "add_key": ((248, 217), (b"user", b"a", b"b", 1, -3)),
    "request_key": ((249, 218), (b"user", b"a", 0, -3)),
    "kexec_load": ((246, 104), (0, 0, 0, 0)),
    "init_module": ((175, 105), (zeros, 1, b"")),
    "finit_module": ((313, 273), (0, b"", 0)),
    "reboot": ((169, 142), (0xFEE1DEAD, 672274793, 0)),
    "swapon": ((167, 224), (path, 0)),
    "userfaultfd": ((323, 282), (1,)),
    "io_uring_setup": ((425, 425), (1, zeros)),
    "personality": ((135, 92), (0x0040000,)),
    "quotactl": ((179, 60), (0, 0, 0, 0)),
    "open_by_handle_at": ((304, 265), (-100, zeros, 0)),
    "name_to_handle_at": ((303, 264), (-100, path, zeros, zeros, 0)),
    "open_tree": ((428, 428), (-100, path, 1)),
    "move_mount": ((429, 429), (-100, path, -100, path, 0)),
    "fsopen": ((430, 430), (b"tmpfs", 0)),
    "mount_setattr": ((442, 442), (-100, path, 0, zeros, 32)),
    "fanotify_init": ((300, 262), (0, 0)),
    "sethostname": ((170, 161), (b"evil", 4)),
    "settimeofday": ((164, 170), (zeros, 0)),
    "clock_settime": ((227, 112), (0, zeros)),
    "acct": ((163, 89), (0,)),
    "syslog": ((103, 116), (10, 0, 0)),
    "kcmp": ((312, 272), (1, 1, 0, 0, 0)),
    "pidfd_getfd": ((438, 438), (0, 0, 0)),
    "ioctl TIOCSTI": ((16, 29), (0, 0x5412, zeros)),
    "mknod char": ((259, 33), (-100, b"/tmp/null", 0o020666, 0x103)),
    "mknod block": ((259, 33), (-100, b"/tmp/disk", 0o060666, 0xFE00)),
    "setuid": ((105, 146), (0,)),
    "setgroups": ((116, 159), (0, zeros)),
    "capset": ((126, 91), (ctypes.create_string_buffer(bytes.fromhex("22050820 00000000")), b"\\xff" * 24)),
    "unknown": ((600, 600), ()),
}
result = {}
for name, (numbers, arguments) in CALLS.items():
    ctypes.set_errno(0)
    if libc.syscall(numbers[column], *arguments) >= 0:
        result[name] = "allowed"
        if name.startswith("clone") and os.getpid() != 2:
            os._exit(0)
    else:
        result[name] = errno.errorcode[ctypes.get_errno()]
print(json.dumps(result))
"""


async def test_privileged_system_calls_are_refused(isolated: Any) -> None:
    """None of the calls with which sandboxes have been left succeeds, each with EPERM or ENOSYS."""
    result = json.loads((await isolated.run(CALLS)).output)
    if isolated.name.endswith("rootless") and result["setuid"] == "EINVAL":  # there is no uid 0 in its user namespace
        result["setuid"] = "EPERM"
    assert {name: answer for name, answer in result.items() if answer not in ("EPERM", "ENOSYS")} == {}
    assert result["clone3"] == result["io_uring_setup"] == result["unknown"] == "ENOSYS"


async def test_no_privileges(isolated: Any) -> None:
    """No capability in any set, no_new_privs, a seccomp filter, no root id, not process 1, no groups, umask 022."""
    result = await isolated.run(
        """
        import json, os, pwd
        status = dict(line.split(":", 1) for line in open("/proc/self/status").read().splitlines())
        print(json.dumps({
            "caps": [status[name].strip() for name in ("CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb")],
            "nnp": status["NoNewPrivs"].strip(), "seccomp": status["Seccomp"].strip(),
            "ids": [*os.getresuid(), *os.getresgid()], "groups": os.getgroups(), "pid": os.getpid(),
            "sid": os.getsid(0), "umask": os.umask(0), "name": pwd.getpwuid(os.getuid()).pw_name,
            "dumpable": os.access("/proc/self/mem", os.R_OK)}))
        """
    )
    seen = json.loads(result.output)
    assert seen["caps"] == ["0000000000000000"] * 5
    assert (seen["nnp"], seen["seccomp"]) == ("1", "2")
    assert 0 not in seen["ids"]
    assert set(seen["groups"]) <= {seen["ids"][3]}
    assert seen["pid"] != 1
    assert seen["sid"] == seen["pid"]
    assert seen["umask"] == 0o022
    assert seen["name"] == "sbx_user1051"


async def test_rlimits(isolated: Any) -> None:
    """The limits of AWS's environment, soft and hard."""
    result = await isolated.run(
        """
        import json, resource as r
        print(json.dumps([r.getrlimit(each) for each in (r.RLIMIT_NOFILE, r.RLIMIT_CORE, r.RLIMIT_MEMLOCK)]
              + [r.getrlimit(r.RLIMIT_STACK)[0]]))
        """
    )
    assert json.loads(result.output) == [[1024, 1024], [0, 0], [65536, 65536], 8 << 20]


async def test_everything_is_read_only_but_tmp(isolated: Any) -> None:
    """Writing anywhere but to /tmp fails, also where the file's own permissions would allow it."""
    writable = isolated.task / "writable"
    writable.mkdir()
    writable.chmod(0o777)
    result = await isolated.run(
        """
        import json, os
        places = ["/", "/usr", "/usr/bin", "/bin", "/lib", "/etc", "/dev", "/var", "/var/task", "/var/task/writable",
                  "/var/tmp", "/opt", "/home", "/root", "/run", "/proc", "/proc/sys/kernel", "/sys", "/srv"]
        done = []
        for place in places:
            try:
                open(place + "/evil", "w")
                done.append(place)
            except OSError:
                pass
        for call in (lambda: os.chmod("/var/task/hello.txt", 0o777), lambda: os.unlink("/var/task/hello.txt"),
                     lambda: open("/var/task/hello.txt", "a"), lambda: os.mkdir("/dev/shm")):
            try:
                call()
                done.append("a call")
            except OSError:
                pass
        open("/tmp/good", "w").write("good")
        print(json.dumps(done))
        """
    )
    assert json.loads(result.output) == []
    assert result.exit.code == 0


async def test_host_files_are_out_of_sight(isolated: Any) -> None:
    """Neither secrets nor homes nor the server's own folders can be found, by name, by /proc or by going up."""
    secret = isolated.folder / "secret.txt"
    secret.write_text("secret")
    result = await isolated.run(
        f"""
        import json, os
        names = ["/etc/shadow", "/etc/ssh", "/etc/hostname", "/var/lib/dpkg", "/var/log/dpkg.log", "/sys/kernel",
                 "/run/lock", "/boot", {str(secret)!r}, {str(isolated.folder)!r}, "/proc/1/root/etc",
                 "/../../../.." + {str(secret)!r}, "/proc/self/root/.." + {str(secret)!r}, "/dev/mem", "/dev/vda",
                 "/dev/loop0", "/dev/loop-control", "/dev/shm", "/dev/pts", "/dev/kmsg"]
        found = [name for name in names if os.path.exists(name)]
        found += [f"/{{name}}/{{each}}" for name in ("root", "home", "run", "srv", "mnt", "media", "sys", "opt")
                  for each in os.listdir("/" + name)]
        print(json.dumps(found))
        """
    )
    assert json.loads(result.output) == []


async def test_proc_is_masked(isolated: Any) -> None:
    """Kernel-wide files of /proc show nothing and take nothing; process 1's own are closed."""
    result = await isolated.run(
        """
        import json, os, time
        end = time.monotonic() + 3  # init closes up a moment after the function's start
        while os.access("/proc/1/fd", os.R_OK) and time.monotonic() < end:
            time.sleep(0.005)
        leaks = []
        for name in ("kcore", "keys", "kallsyms", "kmsg", "timer_list", "slabinfo", "vmallocinfo", "sched_debug"):
            try:
                if open("/proc/" + name, "rb").read(16):
                    leaks.append(name)
            except OSError:
                pass
        for name in ("sys/kernel/core_pattern", "sys/kernel/hostname", "sys/vm/drop_caches", "sysrq-trigger",
                     "sys/net/ipv4/ip_forward", "sys/kernel/ns_last_pid", "1/oom_score_adj", "1/mem", "1/comm"):
            try:
                os.close(os.open("/proc/" + name, os.O_WRONLY))
                leaks.append("write " + name)
            except OSError:
                pass
        for name in ("root", "cwd", "exe", "ns/net"):
            try:
                os.readlink("/proc/1/" + name)
                leaks.append("link " + name)
            except OSError:
                pass
        for name in ("environ", "fd", "maps", "map_files", "auxv"):
            try:
                leaks += ["1/" + name] * bool(os.listdir("/proc/1/" + name) if name in ("fd", "map_files") else
                                              open("/proc/1/" + name, "rb").read(1))
            except OSError:
                pass
        print(json.dumps(leaks))
        """
    )
    assert json.loads(result.output) == []


async def test_command_line_of_init_tells_nothing(isolated: Any) -> None:
    """What /proc/1/cmdline shows names no folder of the server."""
    result = await isolated.run("print(open('/proc/1/cmdline').read())")
    assert str(isolated.folder) not in result.output
    assert "src" not in result.output


async def test_host_processes_are_out_of_sight(isolated: Any) -> None:
    """Only the environment's own processes are in /proc, and no signal reaches any other."""
    result = await isolated.run(
        f"""
        import json, os
        pids = [int(name) for name in os.listdir("/proc") if name.isdecimal()]
        reached = []
        for pid in [{os.getpid()}, {os.getppid()}, *range(3, 300)]:
            try:
                os.kill(pid, 0)
                reached.append(pid)
            except OSError:
                pass
        print(json.dumps([pids, reached]))
        """
    )
    pids, reached = json.loads(result.output)
    assert set(pids) == {1, 2}
    assert reached == []


async def test_kill_everything_kills_only_oneself(isolated: Any) -> None:
    """kill(-1, SIGKILL) leaves the neighbour, the host and even the caller's own init alone."""
    neighbour = await isolated.create("import time; print('up', flush=True); time.sleep(60)")
    await isolated.read_until(neighbour, "up")
    result = await isolated.run(
        """
        import os, time
        child = os.fork() or time.sleep(60)
        os.kill(-1, 9)
        try:
            os.kill(1, 9)
        except PermissionError:
            pass
        print(os.waitpid(child, 0)[1], flush=True)
        """
    )
    assert result.output == "9\n"
    assert result.exit.code == 0
    await asyncio.sleep(0.1)
    with pytest.raises(TimeoutError):
        await asyncio.wait_for(neighbour.wait(), 0.1)
    await neighbour.release()


async def test_fork_bomb(isolated: Any) -> None:
    """Processes and threads stop at `pids`, in this environment alone."""
    neighbour = await isolated.create(
        "import os, sys; input; print('up', flush=True); sys.stdout.flush(); os.read(0, 1)"
    )
    result = await isolated.run(
        """
        import os, time
        count = 1
        try:
            while True:
                if os.fork() == 0:
                    time.sleep(60)
                    os._exit(0)
                count += 1
        except BlockingIOError:
            print(count, flush=True)
        """,
        pids=40,
    )
    assert int(result.output) == 40
    await neighbour.release()
    result = await isolated.run(
        """
        import os
        while True:
            try:
                os.fork()
            except OSError:
                pass
        """.replace("while True", "import time; end = time.time() + 0.5\n        while time.time() < end"),
        pids=30,
    )
    assert result.exit.code == 0
    assert (await isolated.run("print('still here')")).output == "still here\n"


async def test_memory_bomb(isolated: Any) -> None:
    """A process that takes more than the limit is killed, and the end says that memory was the reason."""
    result = await isolated.run(
        """
        data = []
        while True:
            data.append(bytearray(1 << 20))
            data[-1][::4096] = b"x" * 256
        """,
        memory_mib=128,
    )
    assert (result.exit.signal, result.exit.oom) == (9, True)
    assert result.peak == 128 << 20


async def test_memory_limit_holds_for_the_tree(isolated: Any) -> None:
    """Several processes together fall under one limit."""
    environment = await isolated.create(
        """
        import os, time
        for _ in range(4):
            if os.fork() == 0:
                break
        data = bytearray(os.urandom(1 << 20)) * 60
        time.sleep(30)
        """,
        memory_mib=128,
    )
    with_time = asyncio.wait_for(_killed(isolated, environment), 20)
    assert await with_time
    await environment.release()


async def _killed(backend: Any, environment: Any) -> bool:
    """Whether the first process or a child of it was killed for want of memory."""
    while True:
        if environment._exit.done():
            return bool((await environment.wait()).oom)
        if environment._out_of_memory():
            return True
        await asyncio.sleep(0.05)


async def test_memory_under_the_limit_is_fine(isolated: Any) -> None:
    """A function may use what it was given, and read and write files without being charged for the cache."""
    result = await isolated.run(
        """
        data = bytearray(80 << 20)
        for _ in range(3):
            with open("/tmp/big", "wb") as file:
                for _ in range(150):
                    file.write(data[:1 << 20])
            with open("/tmp/big", "rb") as file:
                while file.read(1 << 20):
                    pass
        print("fine")
        """,
        memory_mib=128,
        tmp_mib=512,
    )
    assert result.output == "fine\n"


@pytest.mark.parametrize("mib", [64, 512])
async def test_tmp_filler(isolated: Any, mib: int) -> None:
    """/tmp takes what was asked for, hardly more, and then says that it is full; memory is not charged."""
    result = await isolated.run(
        """
        import errno
        written = 0
        try:
            with open("/tmp/fill", "wb", buffering=0) as file:
                while True:
                    written += file.write(bytes(1 << 20))
        except OSError as error:
            print(errno.errorcode[error.errno], written >> 20)
        """,
        tmp_mib=mib,
        memory_mib=64,
    )
    code, written = result.output.split()
    assert code == "ENOSPC"
    assert mib <= int(written) <= mib * 1.08


async def test_cpu_share(isolated: Any) -> None:
    """After limit_cpu the tree gets its share of a processor, 10 % with 177 MiB, however many processes it has."""
    environment = await isolated.create(
        """
        import os, time
        print("up", flush=True)
        os.read(0, 1)
        os.fork()
        end = time.monotonic() + 1.5
        begin = time.process_time()
        while time.monotonic() < end:
            pass
        print(f"{time.process_time() - begin:.3f}", flush=True)
        if os.getpid() == 2:
            os.wait()
        """,
        memory_mib=177,
    )
    await environment.limit_cpu()
    output = await isolated.read_until(environment, "up")
    await environment.wait()
    used = [float(line) for line in (output + os.read(environment.output, 1000).decode()).split()[1:]]
    assert len(used) == 2
    assert 0.05 <= sum(used) <= 0.33
    await environment.release()


async def test_sockets(isolated: Any) -> None:
    """Raw, packet, netlink (but routes), vsock, alg and other families are refused."""
    result = await isolated.run(
        """
        import json, socket
        refused = {}
        for name, arguments in {
            "raw": (2, 3, 1), "raw6": (10, 3, 58), "packet": (17, 3, 3), "packet dgram": (17, 2, 3), "alg": (38, 5, 0),
            "vsock": (40, 1, 0), "bluetooth": (31, 3, 1), "can": (29, 3, 1), "key": (15, 3, 2), "tipc": (30, 1, 0),
            "xdp": (44, 3, 0), "qipcrtr": (42, 2, 0), "ax25": (3, 5, 0), "rds": (21, 5, 0), "smc": (43, 1, 0),
            "audit": (16, 3, 9), "netfilter": (16, 3, 12), "generic": (16, 3, 16), "uevent": (16, 3, 15),
            "diag": (16, 3, 4), "xfrm": (16, 3, 6), "obsolete packet": (2, 10, 3),
        }.items():
            try:
                socket.socket(*arguments)
                refused[name] = "allowed"
            except OSError:
                pass
        for family, kind in ((1, 1), (1, 2), (2, 1), (2, 2), (10, 1)):
            socket.socket(family, kind).close()
        socket.socketpair()
        socket.socket(16, 3, 0)
        print(json.dumps(refused), [name for _, name in socket.if_nameindex()])
        """
    )
    assert result.output == "{} ['lo']\n"


async def test_the_network_cannot_be_changed(isolated: Any) -> None:
    """Requests over route netlink that change something are refused; there is a way to nowhere but the two sockets."""
    result = await isolated.run(
        """
        import json, socket, struct, errno
        channel = socket.socket(16, 3, 0)
        body = struct.pack("=BxHiII", 0, 0, 1, 0, 1)  # lo down
        channel.send(struct.pack("=IHHII", 16 + len(body), 16, 5, 1, 0) + body)
        answer = -struct.unpack_from("=i", channel.recv(4096), 16)[0]
        reached = []
        for address in ("10.0.0.1", "169.254.169.254", "8.8.8.8", "192.168.1.1"):
            probe = socket.socket()
            probe.settimeout(1)
            try:
                probe.connect((address, 80))
                reached.append(address)
            except OSError:
                pass
        print(errno.errorcode[answer], reached)
        """
    )
    assert result.output == "EPERM []\n"


async def test_host_loopback_is_out_of_reach(isolated: Any) -> None:
    """A server on the host's 127.0.0.1 or its abstract sockets cannot be reached; names still resolve to loopback."""
    with socket.socket() as server, socket.socket(socket.AF_UNIX) as unix:
        server.bind(("127.0.0.1", 0))
        server.listen()
        unix.bind("\0alonzo-test-reach")
        unix.listen()
        result = await isolated.run(
            f"""
            import socket
            for family, address in ((2, ("127.0.0.1", {server.getsockname()[1]})), (1, "\\0alonzo-test-reach")):
                try:
                    socket.socket(family).connect(address)
                    print("reached")
                except ConnectionRefusedError:
                    print("refused")
            print(socket.getaddrinfo("localhost", 80, 2, 1)[0][4][0], socket.gethostbyname("sandbox.localdomain"))
            """
        )
    assert result.output.split() == ["refused", "refused", "127.0.0.1", "169.254.100.1"]


async def test_setuid_programs_give_nothing(isolated: Any) -> None:
    """Every mount is nosuid, every one but /dev's own nodev, and a setuid program keeps the caller's ids."""
    result = await isolated.run(
        """
        import json, os
        points = [line.split()[4] for line in open("/proc/self/mountinfo")]
        bad = [point for point in points if not os.statvfs(point).f_flag & os.ST_NOSUID]
        os.system("cp /usr/bin/id /tmp/id; chmod 6755 /tmp/id")
        print(json.dumps([bad, os.getuid(), os.popen("/tmp/id -u").read().strip()]))
        """
    )
    bad, uid, seen = json.loads(result.output)
    assert bad == []
    assert int(seen) == uid


async def test_two_environments_do_not_see_each_other(isolated: Any) -> None:
    """Processes, files, abstract sockets, System V memory and ports of one are not there for the other."""
    one = await isolated.create(
        """
        import ctypes, os, socket, time
        open("/tmp/mine", "w").write("mine")
        unix = socket.socket(socket.AF_UNIX)
        unix.bind("\\0mine")
        port = socket.create_server(("169.254.100.1", 7777))
        print(ctypes.CDLL(None).shmget(4711, 4096, 0o1666), os.getuid(), flush=True)
        time.sleep(60)
        """
    )
    segment, uid = (await isolated.read_until(one, "\n")).split()
    assert int(segment) >= 0
    two = await isolated.run(
        """
        import ctypes, os, socket
        unix = socket.socket(socket.AF_UNIX)
        unix.bind("\\0mine")
        socket.create_server(("169.254.100.1", 7777))
        print(ctypes.CDLL(None).shmget(4711, 4096, 0o666), os.getuid(), os.path.exists("/tmp/mine"))
        """
    )
    segment, other, exists = two.output.split()
    assert (segment, exists) == ("-1", "False")
    if not isolated.name.endswith("rootless"):
        assert uid != other
    await one.release()


async def test_orphans_and_zombies(isolated: Any) -> None:
    """Orphans are adopted and reaped by init, and die with the first process."""
    result = await isolated.run(
        """
        import os, time
        if os.fork() == 0:
            os.setsid()
            if os.fork() == 0:
                time.sleep(0.05)
                os._exit(0)
            os._exit(0)
        os.wait()
        time.sleep(0.3)
        print(sorted(int(name) for name in os.listdir("/proc") if name.isdecimal()), flush=True)
        if os.fork() == 0:
            os.setsid()
            time.sleep(60)
        """
    )
    assert result.output == "[1, 2]\n"
    assert result.exit.code == 0


async def test_output_flood(isolated: Any) -> None:
    """A function that nobody listens to blocks on its own pipe and can still be killed."""
    environment = await isolated.create("import os\nwhile True: os.write(1, b'x' * 65536)")
    await asyncio.sleep(0.1)
    await asyncio.wait_for(environment.kill(), 10)
    await environment.release()


async def test_host_device_files_work_and_no_more(isolated: Any) -> None:
    """The few devices in /dev do what they should."""
    result = await isolated.run(
        """
        import os
        print(sorted(os.listdir("/dev")), len(open("/dev/urandom", "rb").read(8)), open("/dev/zero", "rb").read(2))
        open("/dev/null", "w").write("x")
        """
    )
    assert result.output == (
        "['fd', 'full', 'null', 'random', 'stderr', 'stdin', 'stdout', 'tty', 'urandom', 'zero'] 8 b'\\x00\\x00'\n"
    )
    assert result.exit.code == 0


async def test_init_is_small_and_nameless(privileged: Any) -> None:
    """While a function runs, its init is no Python any more: process 1 has a few pages and tells nothing."""
    result = await privileged.run(
        """
        import os, time
        end = time.monotonic() + 5
        while b"python" in open("/proc/1/cmdline", "rb").read() or "alonzo-init" not in open("/proc/1/cmdline").read():
            assert time.monotonic() < end or os.uname().machine != "x86_64", "init did not become small"
            time.sleep(0.01)
        print(int(open("/proc/1/statm").read().split()[1]) * 4, "KiB")
        """
    )
    if os.uname().machine == "x86_64":
        assert int(result.output.split()[0]) <= 64


async def test_init_cannot_be_taken_over(privileged: Any) -> None:
    """init lies outside the control groups, so it has another uid than the function; both leave the host's."""
    result = await privileged.run(
        """
        import os, time
        end = time.monotonic() + 3  # init gives up its privileges while the function starts
        while True:
            status = dict(line.split(":", 1) for line in open("/proc/1/status").read().splitlines())
            if status["Seccomp"].strip() == "2" or time.monotonic() > end:
                break
        print(os.getuid(), *set(status["Uid"].split()), status["CapEff"].strip(), status["Seccomp"].strip())
        """
    )
    function, init, capabilities, seccomp = result.output.split()
    assert (capabilities, seccomp) == ("0000000000000000", "2")
    assert int(init) == int(function) + 1
    assert int(function) >= 0x70000000

"""Preparing Node.js: finding programs, flags, module folders, and what goes wrong."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import stat
from pathlib import Path

import pytest

from alonzo.runtimes import RuntimeUnavailable, bootstraps, lookup, node_start
from alonzo.runtimes.interpreters import Interpreters
from alonzo.runtimes.node import SDK
from alonzo.runtimes.nodes import Node, Nodes
from alonzo.runtimes.prepare import Preparer
from alonzo.runtimes.processes import run
from alonzo.runtimes.root import runtime_variables


def pretend(folder: Path, version: str, *, release: str = "node", code: int = 0) -> Path:
    """A program that answers the probe as Node.js of a version would."""
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / "node"
    said = {"version": version, "executable": str(path), "release": release, "prerelease": False}
    path.write_text(f"#!/bin/sh\necho x >> {folder}/asked\necho '{json.dumps(said)}'\nexit {code}\n")
    path.chmod(0o755)
    return path


def preparer(root: Path, *folders: Path, **more: bool) -> Preparer:
    return Preparer(root, Interpreters([], only=True), nodes=Nodes(folders, only=True), **more)


async def test_newest_of_a_version_is_found(tmp_path):
    """Of several programs of one major version the newest is taken, wherever version managers put it."""
    home = tmp_path / "home"
    pretend(home / ".nvm/versions/node/v22.9.0/bin", "22.9.0")
    newest = pretend(home / ".local/share/fnm/node-versions/v22.10.1/installation/bin", "22.10.1")
    pretend(home / ".volta/tools/image/node/18.1.0/bin", "18.1.0")
    found = await Nodes(environ={"HOME": str(home)}).all(tmp_path / "fetched")
    assert found["22"] == Node(str(newest), "22.10.1")
    assert found["18"].version == "18.1.0"


async def test_what_is_no_node_is_passed_over(tmp_path):
    """Programs that fail, say nothing or are something else are not taken; each is asked once."""
    pretend(tmp_path / "a", "22.1.0", code=1)
    pretend(tmp_path / "b", "22.2.0", release="other")
    (tmp_path / "c").mkdir()
    (tmp_path / "c/node").write_text("not executable")
    nodes = Nodes([tmp_path / name for name in "abc"], only=True)
    assert await nodes.all(tmp_path / "fetched") == {}
    assert await nodes.all(tmp_path / "fetched") == {}
    assert (tmp_path / "a/asked").read_text() == "x\n"


async def test_missing_node_is_refused_with_the_command_that_fetches_it(tmp_path):
    """A function's preparation fetches no interpreter, and neither does an offline machine: both say what does."""
    for refused in (
        preparer(tmp_path / "r").install("nodejs22.x", fetch=False),
        preparer(tmp_path / "r", offline=True).install("nodejs22.x"),
    ):
        with pytest.raises(RuntimeUnavailable) as told:
            await refused
        assert str(told.value) == (
            "The runtime nodejs22.x needs Node.js 22, which was not found on this machine. Fetch it with "
            "`alonzo runtime install nodejs22.x`, or name the folder of yours in ALONZO_INTERPRETERS."
        )
    assert not (tmp_path / "r").exists()


async def test_offline_and_unprepared_is_told(tmp_path):
    """An offline machine with Node.js but without the SDK says which command prepares it."""
    pretend(tmp_path / "bin", "20.1.0")
    with pytest.raises(RuntimeUnavailable, match="has not been prepared, and fetching its packages is turned off"):
        await preparer(tmp_path / "r", tmp_path / "bin", offline=True).install("nodejs20.x")


async def test_unreachable_registry_leaves_nothing(tmp_path, monkeypatch):
    """When npm cannot fetch the packages its reason is told, and nothing half-done is left."""
    pretend(tmp_path / "bin", "20.1.0")
    npm = tmp_path / "npm/npm"
    npm.parent.mkdir()
    npm.write_text("#!/bin/sh\necho 'npm error code ENOTFOUND'\necho 'npm error request failed'\nexit 1\n")
    npm.chmod(0o755)
    monkeypatch.setenv("PATH", f"{npm.parent}:{os.environ['PATH']}")
    with pytest.raises(RuntimeUnavailable, match=r"nodejs20\.x could not be installed: request failed\.") as told:
        await preparer(tmp_path / "r", tmp_path / "bin").install("nodejs20.x")
    assert "npm's registry" in told.value.mend
    assert [path.name for path in (tmp_path / "r").iterdir()] == ["nodejs20.x.lock"]


@pytest.mark.slow
async def test_unreachable_index_is_told(tmp_path, monkeypatch):
    """When a missing Node.js cannot be fetched the reason is told, and nothing half-done is left."""
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.delenv("PIP_FIND_LINKS", raising=False)
    monkeypatch.setenv("UV_OFFLINE", "1")
    monkeypatch.setenv("UV_NO_CACHE", "1")
    with pytest.raises(RuntimeUnavailable, match=r"Node\.js 22 could not be fetched: ") as told:
        await preparer(tmp_path / "r").install("nodejs22.x")
    assert "Check the connection to the package index" in told.value.mend
    assert list((tmp_path / "r/node").iterdir()) == []


async def test_statuses_of_node_and_custom_runtimes(tmp_path):
    """The list shows which Node.js was found, how to get the others, and that custom runtimes need nothing."""
    pretend(tmp_path / "bin", "20.1.0")
    rows = {row.runtime.identifier: row for row in await preparer(tmp_path / "r", tmp_path / "bin").statuses()}
    assert (rows["nodejs20.x"].interpreter_version, rows["nodejs20.x"].prepared) == ("20.1.0", None)
    assert rows["nodejs22.x"].why_not == "no Node.js 22 on this machine"
    assert rows["nodejs22.x"].mend == "alonzo runtime install nodejs22.x"
    assert rows["provided.al2023"].prepared is not None


@pytest.mark.parametrize(
    ("version", "memory", "options", "expected"),
    [
        ("18.20.8", 128, "", ["--expose-gc", "--max-semi-space-size=2", "--max-old-space-size=116"]),
        ("20.16.0", 10240, "", ["--expose-gc", "--max-semi-space-size=170", "--max-old-space-size=9216"]),
        ("20.20.2", 128, "--max-old-space-size=50", ["--expose-gc", "--no-experimental-require-module"]),
        (
            "22.1.0",
            128,
            "--max_semi_space_size=1",
            ["--expose-gc", "--no-experimental-require-module", "--no-experimental-detect-module"],
        ),
        ("22.1.0", 128, "--max-old-space-size=9 --experimental-require-module --experimental-detect-module", None),
        ("24.1.0", 128, "--max-old-space-size=9", ["--expose-gc"]),
    ],
)
def test_flags(version, memory, options, expected):
    """The heap follows the function's memory, experimental features are off, and NODE_OPTIONS goes before both."""
    assert node_start.flags(version, memory, options) == (expected or ["--expose-gc"])


def test_variables():
    """Node.js functions search layers, SDK and task; nothing makes Node.js read certificates at every start."""
    variables = runtime_variables(lookup("nodejs24.x"), "index.handler")
    layers = "/opt/nodejs/node24/node_modules:/opt/nodejs/node_modules"
    assert variables["NODE_PATH"] == f"{layers}:/var/runtime/node_modules:/var/runtime:/var/task"
    assert "NODE_EXTRA_CA_CERTS" not in variables


def test_module_folders(tmp_path):
    """`import` sees the SDK, and the folder of a layer that fits the version; a link in a layer is not followed."""
    runtime, layer = tmp_path / "runtime", tmp_path / "layer"
    (layer / "nodejs").mkdir(parents=True)
    (layer / "nodejs/node_modules").symlink_to("/etc")
    mounts = [(runtime, "/var/runtime"), (layer, "/opt")]
    sdk = (runtime / "node_modules", "/node_modules")
    assert node_start.module_mounts("22", mounts) == [sdk]
    (layer / "nodejs/node22/node_modules").mkdir(parents=True)
    assert node_start.module_mounts("22", mounts) == [sdk, (layer / "nodejs/node22/node_modules", "/var/node_modules")]
    assert node_start.module_mounts("20", mounts[:1]) == [sdk]


def test_client_is_one_file_in_order():
    """The client's parts are joined in the order of their names, errors first and the start last."""
    client = bootstraps.node_client().decode()
    assert client.startswith("'use strict';")
    places = [client.index(f"\n{what}") for what in ("class RuntimeError", "class RuntimeApi", "function start()")]
    assert places == sorted(places)


REHEARSE = """
const fs = require('fs');
const kept = { listened: 0, invoked: [] };
const shown = () => ({
  globals: Object.getOwnPropertyNames(globalThis), process: Object.getOwnPropertyNames(process).sort(),
  variables: { ...process.env }, cwd: process.cwd(), cached: Object.keys(require.cache),
  found: Object.keys(require('module')._pathCache), active: process.getActiveResourcesInfo(),
  listeners: process.eventNames(), console: [console.log === console.info, String(console.error)],
  current: { ...current }, store: invokeStore.context ?? null, follows: follow === schedule,
  heap: require('v8').getHeapStatistics().heap_size_limit,
});
const before = shown();
const { Server } = require('net');
const { listen } = Server.prototype;
Server.prototype.listen = function (...args) {
  kept.listened += 1;
  return listen.apply(this, args);
};
const { respond } = RuntimeApi.prototype;
RuntimeApi.prototype.respond = function (id, body) {
  kept.invoked.push([id, JSON.parse(body).event]);
  return respond.call(this, id, body);
};
prepare().then(() =>
  setImmediate(() => {
    fs.writeSync(1, JSON.stringify({ before, after: shown(), ...kept }));
    process.exit(0);
  }),
);
"""


@pytest.mark.slow
@pytest.mark.parametrize("runtime", ["nodejs18.x", "nodejs20.x", "nodejs22.x", "nodejs24.x"])
async def test_the_rehearsal_leaves_nothing(house, tmp_path, runtime):
    """A client that is started ahead of need has invoked a script and a module, is connected to the Runtime API and to
    nothing else, and nothing that a function sees tells of it."""
    ready = await house.runtimes.install(runtime)
    bootstraps.write_node(tmp_path)
    client, _, _ = bootstraps.node_client().decode().partition("\n// -- the start --")
    (tmp_path / "index.cjs").write_text(f"{client}\n{REHEARSE}")
    reached = []
    server = await asyncio.start_server(lambda _, writer: reached.append(writer), "127.0.0.1", 0)
    variables = {
        "PATH": os.defpath,
        "LD_LIBRARY_PATH": f"{ready.lang}/lib",
        "LAMBDA_RUNTIME_DIR": str(tmp_path),
        "AWS_LAMBDA_RUNTIME_API": f"127.0.0.1:{server.sockets[0].getsockname()[1]}",
    }
    flags = node_start.flags(ready.interpreter_version, 512, "")
    async with server:
        code, said = await run([f"{ready.lang}/bin/node", *flags, str(tmp_path / "index.cjs")], 60, variables)
        for writer in reached:
            writer.close()
            with contextlib.suppress(OSError):
                await writer.wait_closed()
    assert code == 0, said
    seen = json.loads(said)
    assert seen["invoked"] == [["rehearsal", {"key": ["value", 1]}]] * 2
    assert seen["after"] == seen["before"]
    assert seen["listened"] == len(reached) == 1


@pytest.mark.slow
async def test_prepared_folder(house):
    """A prepared runtime holds the program, the client, every package of the SDK and nothing for compilers; all may
    read it."""
    ready = await house.runtimes.install("nodejs20.x")
    assert set(ready.packages) == set(SDK)
    modules = ready.task_runtime / "node_modules"
    assert (ready.task_runtime / "ca-cert.pem").is_file()
    assert list(modules.rglob("*.d.ts")) == []
    files = [path for path in ready.folder.rglob("*") if not path.is_symlink()]
    assert [path for path in files if stat.S_IMODE(path.stat().st_mode) & 0o444 != 0o444] == []
    assert sum(path.stat().st_size for path in modules.rglob("*") if path.is_file()) < 40_000_000
    assert ready.version_name == "nodejs:20.v1"


@pytest.mark.slow
async def test_root_of_a_function(house):
    """The heap of a root follows the function's memory: the same code with more of it is another root."""
    function = await house.function({"index.js": ""}, runtime="nodejs20.x", handler="index.handler")
    small = await house.runtimes.root(function)
    larger = type(function)(**{**vars(function), "memory_mib": 1024})
    large = await house.runtimes.root(larger)
    assert "--max-old-space-size=116" in small.argv
    assert "--max-old-space-size=922" in large.argv
    assert small.argv[-1] == "/var/runtime/index.cjs"


async def test_custom_runtime_needs_no_preparation(house):
    """A custom runtime's root is the package and its layers; without a bootstrap it says so in AWS's words."""
    function = await house.function({"bootstrap": "#!/bin/sh\n"}, runtime="provided.al2023")
    root = await house.runtimes.root(function)
    assert root.argv == ("/var/task/bootstrap",)
    assert [target for _, target in root.mounts] == ["/var/task"]
    assert (root.runtime_version, root.broken) == ("provided:al2023.v1", "")
    layered = await house.function({"x": ""}, {"bootstrap": "#!/bin/sh\n"}, runtime="provided.al2")
    assert (await house.runtimes.root(layered)).argv == ("/opt/bootstrap",)
    folder = await house.function({"bootstrap/x": ""}, runtime="provided.al2023")
    none = await house.runtimes.root(folder)
    assert none.argv == ()
    assert none.broken == "Couldn't find valid bootstrap(s): [/var/task/bootstrap /opt/bootstrap]"

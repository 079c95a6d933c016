"""Every interpreter found on this machine becomes AWS's runtime."""

from __future__ import annotations

import importlib.util
import re
import sys
import textwrap
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import pytest

from alonzo.runtimes import Runtimes

_spec = importlib.util.spec_from_file_location("runtimes_conftest", Path(__file__).with_name("conftest.py"))
assert _spec is not None and _spec.loader is not None
_conftest = importlib.util.module_from_spec(_spec)
sys.modules["runtimes_conftest"] = _conftest
_spec.loader.exec_module(_conftest)
FOUND = _conftest.found_here()

_LOOK = """
import os, sys
import awslambdaric, boto3, botocore, layered
def handler(event, context):
    return {
        "event": event, "argv": sys.argv, "path": sys.path, "cwd": os.getcwd(), "prefix": sys.prefix,
        "version": list(sys.version_info[:2]),
        "boto3": boto3.__file__, "client": awslambdaric.__file__, "layered": layered.VALUE,
        "environ": dict(os.environ), "builtins": [exit.__class__.__name__, quit.__class__.__name__, bool(help)],
        "request": context.aws_request_id,
        "transport": os.path.basename(sys.modules["runtime_client"].__file__).partition(".cpython")[0],
        "extra": [name for name in sys.modules if "alonzo" in name],
    }
"""


@pytest.mark.slow
@pytest.mark.parametrize("client", ["lean", "aws"])
@pytest.mark.parametrize("runtime", FOUND)
async def test_each_interpreter_runs_awslambdaric(house, run, runtime, client):
    """A handler on each interpreter of this machine sees AWS's search path, working folder, SDK and layers."""
    settings = replace(house.settings, runtime_client=client)
    runtimes = Runtimes(SimpleNamespace(settings=settings, blobs=house.blobs))
    function = await house.function(
        {"app.py": _LOOK},
        {"python/layered.py": "VALUE = 1", "python/gone.py": ""},
        {"python/layered.py": "VALUE = 2"},
        runtime=runtime,
    )
    ran = await run(await runtimes.root(function), {"hello": "world"})
    seen = ran.response()
    version = runtime.removeprefix("python")
    packages = f"/var/lang/lib/python{version}/site-packages"
    standard = [
        f"/var/lang/lib/python{version.replace('.', '')}.zip",
        f"/var/lang/lib/python{version}",
        f"/var/lang/lib/python{version}/lib-dynload",
    ]
    new = tuple(seen["version"]) >= (3, 11)
    rest = [packages, "/var/runtime", *standard] if new else ["/var/runtime", *standard, packages]
    assert seen["path"] == ["/var/task", f"/opt/python/lib/python{version}/site-packages", "/opt/python", *rest]
    assert f"python{'.'.join(map(str, seen['version']))}" == runtime
    assert seen["event"] == {"hello": "world"}
    assert seen["cwd"] == "/var/task"
    assert seen["argv"] == ["/var/runtime/bootstrap.py"]
    assert seen["prefix"] == "/var/lang"
    assert seen["boto3"].startswith(packages if new else "/var/runtime/")
    assert seen["client"].startswith(packages if new else "/var/runtime/")
    assert seen["layered"] == 2
    assert seen["extra"] == []
    assert seen["builtins"] == ["Quitter", "Quitter", True]
    assert seen["request"] == "request-1"
    assert seen["transport"] == ("_alonzo_client.py" if client == "lean" else "runtime_client")
    assert ran.printed == ""


@pytest.mark.slow
@pytest.mark.parametrize("given", [{}, {"LC_CTYPE": "C.UTF-8"}, {"LANG": "POSIX"}])
async def test_the_locale_is_utf_8_and_only_given_variables_say_so(house, run, given):
    """Python's own choice of a locale shows where it would on AWS only; what the function was given is there."""
    source = """
    import locale, os, sys
    def handler(event, context):
        names = ("LANG", "LC_ALL", "LC_CTYPE")
        here = {name: os.environ[name] for name in names if name in os.environ}
        return [sys.getfilesystemencoding(), locale.getpreferredencoding().lower(), here]
    """
    function = await house.function({"app.py": textwrap.dedent(source)})
    ran = await run(await house.runtimes.root(function), {}, given)
    chosen = {"LC_CTYPE": "C.UTF-8"} if given.get("LANG") == "POSIX" else {}
    assert ran.response() == ["utf-8", "utf-8", {"LANG": "en_US.UTF-8", **given, **chosen}]


@pytest.mark.slow
async def test_variables_are_those_of_aws(house, run):
    """The runtime's own variables are exactly the recorded ones, PYTHONPATH included although it is set late."""
    function = await house.function({"app.py": _LOOK.replace(", layered", "").replace("layered.VALUE", "0")})
    seen = (await run(await house.runtimes.root(function), {})).response()["environ"]
    assert seen["PYTHONPATH"] == "/var/runtime"
    assert seen["AWS_EXECUTION_ENV"] == "AWS_Lambda_python3.11"
    assert seen["_HANDLER"] == "app.handler"
    assert {"LANG": "en_US.UTF-8", "TZ": ":UTC", "SHLVL": "0"}.items() <= seen.items()
    assert "LC_CTYPE" not in seen
    assert seen["PATH"] == "/var/lang/bin:/usr/local/bin:/usr/bin/:/bin:/opt/bin"


@pytest.mark.slow
@pytest.mark.parametrize("runtime", [FOUND[0], FOUND[-1]])
async def test_prints_are_not_held_back(house, run, runtime):
    """What a handler prints has left the process before it answers."""
    function = await house.function({"app.py": "def handler(e, c):\n    print('now')\n"}, runtime=runtime)
    assert (await run(await house.runtimes.root(function), {})).printed == "now\n"


@pytest.mark.slow
@pytest.mark.parametrize(
    ("files", "handler", "kind", "message"),
    [
        (
            {"other.py": ""},
            "app.handler",
            "Runtime.ImportModuleError",
            "Unable to import module 'app': No module named",
        ),
        ({"app.py": "import nothing"}, "app.handler", "Runtime.ImportModuleError", "No module named 'nothing'"),
        ({"app.py": "x = ("}, "app.handler", "Runtime.UserCodeSyntaxError", "Syntax error in module 'app'"),
        ({"app.py": ""}, "app.handler", "Runtime.HandlerNotFound", "Handler 'handler' missing on module 'app'"),
        ({"app.py": ""}, "app", "Runtime.MalformedHandlerName", "Bad handler 'app'"),
    ],
)
async def test_import_errors_are_reported(house, run, files, handler, kind, message):
    """What goes wrong before the first event reaches the Runtime API with AWS's error type and text."""
    function = await house.function(files, handler=handler)
    error = (await run(await house.runtimes.root(function), {})).init_error()
    assert error["errorType"] == kind
    assert message in error["errorMessage"]


@pytest.mark.slow
async def test_pth_files_and_nested_handlers(house, run):
    """A `.pth` file in the package takes effect, and a handler may lie in a folder of it."""
    function = await house.function(
        {
            "more.pth": "vendored\n",
            "vendored/deep.py": "VALUE = 7",
            "pkg/mod.py": "import deep\ndef go(e, c):\n    return deep.VALUE",
        },
        handler="pkg/mod.go",
    )
    assert (await run(await house.runtimes.root(function), {})).response() == 7


@pytest.mark.slow
async def test_pythonpath_of_the_function_brings_its_hooks(house, run):
    """With a PYTHONPATH of its own, a function's sitecustomize runs before the handler is imported, as on AWS."""
    function = await house.function(
        {
            "hooks/sitecustomize.py": "import builtins; builtins.HOOKED = True",
            "app.py": "def handler(e, c): return HOOKED",
        },
        environment={"PYTHONPATH": "/var/task/hooks"},
    )
    root = await house.runtimes.root(function)
    assert (await run(root, {}, function.environment)).response() is True


@pytest.mark.slow
async def test_wrapper_script(house, run, tmp_path):
    """AWS_LAMBDA_EXEC_WRAPPER starts the interpreter through the script it names."""
    import io
    import zipfile

    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        script = zipfile.ZipInfo("wrap")
        script.create_system, script.external_attr = 3, 0o100755 << 16
        archive.writestr(script, '#!/bin/sh\nexport WRAPPED=yes\nexec "$@"\n')
        archive.writestr("app.py", "import os\ndef handler(e, c): return os.environ['WRAPPED']")
    package = await house.store(buffer.getvalue())
    function = _conftest.Function(package, environment={"AWS_LAMBDA_EXEC_WRAPPER": "/var/task/wrap"})
    root = await house.runtimes.root(function)
    assert (await run(root, {}, function.environment)).response() == "yes"
    missing = {"AWS_LAMBDA_EXEC_WRAPPER": "/opt/none"}
    ran = await run(root, {}, missing)
    assert (ran.code, ran.printed) == (127, "/opt/none: does not exist\n")


@pytest.mark.slow
async def test_root_runs_without_mounts(house):
    """Where nothing can be mounted and paths are replaced by the real folders, the same program finds all it needs."""
    function = await house.function({"app.py": _LOOK}, {"python/layered.py": "VALUE = 4"})
    root = await house.runtimes.root(function)

    def real(text: str) -> str:
        for source, target in root.mounts:
            text = text.replace(target, str(source))
        return text

    said = await _conftest.talk(
        [real(word) for word in root.argv], {k: real(v) for k, v in root.env.items()}, real(root.cwd)
    )
    seen = said.response()
    assert seen["layered"] == 4
    assert seen["path"][0] == real("/var/task")
    assert real("/opt") + "/python" in seen["path"]
    assert seen["prefix"] == real("/var/lang")


@pytest.mark.slow
async def test_nothing_is_compiled_inside(house, run):
    """Every module of interpreter, client and SDK that a cold start imports comes from a compiled file."""
    source = """
import sys, os, boto3, json
def handler(e, c):
    modules = [m for m in list(sys.modules.values()) if getattr(m, '__cached__', None) and m.__name__ != 'app']
    return [m.__name__ for m in modules if m.__file__.endswith('.py') and not os.path.exists(m.__cached__)]
"""
    function = await house.function({"app.py": source})
    missing = (await run(await house.runtimes.root(function), {})).response()
    assert [name for name in missing if name != "__main__"] == []


@pytest.mark.slow
@pytest.mark.parametrize("runtime", FOUND)
async def test_no_regular_expression_is_compiled_before_the_handler(house, run, runtime):
    """The patterns that the client's imports need are the recorded ones, and equal freshly compiled ones."""
    source = """
import re, sys
compiler = sys.modules.get("re._compiler") or sys.modules["sre_compile"]
before = {key: pattern for key, pattern in re._cache.items() if key[0] is str}
def handler(event, context):
    compiled = []
    original = compiler.compile
    compiler.compile = lambda *a: compiled.append(a) or original(*a)
    for name in ("logging", "string", "textwrap", "tokenize", "json.decoder", "json.scanner", "simplejson.decoder"):
        import importlib
        if name in sys.modules:
            importlib.reload(sys.modules[name])
    fresh = {key: original(key[1], key[2]) for key in before}
    same = [fresh[key] == pattern for key, pattern in before.items()]
    return [len(before), all(same), [a[0] for a in compiled]]
"""
    function = await house.function({"app.py": source}, runtime=runtime)
    count, same, compiled = (await run(await house.runtimes.root(function), {})).response()
    assert count > 10 and same
    assert compiled == []


@pytest.mark.slow
async def test_root_is_cached_and_named_like_aws(house):
    """The second root of the same content is the same object; its runtime version has AWS's form."""
    function = await house.function({"app.py": ""})
    first = await house.runtimes.root(function)
    assert await house.runtimes.root(function) is first
    assert first.runtime_version == "python:3.11.v1"
    assert re.fullmatch(r"arn:aws:lambda:eu-west-1::runtime:[0-9a-f]{64}", first.runtime_version_arn)


@pytest.mark.slow
@pytest.mark.skipif(not Path("/usr/bin/python3.11").exists(), reason="the distribution has no Python 3.11")
async def test_interpreter_of_the_distribution(tmp_path, run):
    """A distribution's interpreter, spread over /usr, runs from /var/lang and sees nothing of its dist-packages."""
    from types import SimpleNamespace

    from alonzo.config import load_settings
    from alonzo.core.ids import Ids
    from alonzo.runtimes import Runtimes
    from alonzo.runtimes.interpreters import Interpreters
    from alonzo.storage import Blobs

    settings = load_settings({"data_dir": tmp_path / "data", "runtimes_dir": tmp_path / "runtimes"}, {})
    blobs = Blobs(tmp_path / "blobs", Ids(), durable=False)
    blobs.open()
    parts = SimpleNamespace(settings=settings, blobs=blobs)
    runtimes = Runtimes(parts, interpreters=Interpreters([Path("/usr/bin")], only=True))
    house = _conftest.House(settings, blobs, runtimes)
    function = await house.function({"app.py": _LOOK}, {"python/layered.py": "VALUE = 3"})
    seen = (await run(await runtimes.root(function), {})).response()
    assert seen["prefix"] == "/var/lang"
    assert not any("dist-packages" in entry for entry in seen["path"])
    assert (seen["layered"], seen["version"]) == (3, [3, 11])


@pytest.mark.slow
async def test_only_our_client_is_forked(house):
    """AWS's own client learns the Runtime API's address when it is imported, so it is started by each environment."""
    function = await house.function({"app.py": "handler = print"})
    ours = await house.runtimes.root(function)
    assert ours.base is not None
    assert ours.argv[-1] == "/opt"
    settings = replace(house.settings, runtime_client="aws")
    theirs = await Runtimes(SimpleNamespace(settings=settings, blobs=house.blobs)).root(function)
    assert theirs.base is None
    assert theirs.argv == (*ours.argv, "aws")

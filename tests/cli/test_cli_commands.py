"""The commands by themselves: parsing, output, errors."""

from __future__ import annotations

import base64
import io
import json
import socket
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from botocore.exceptions import ClientError
from click.testing import Result

from alonzo import __version__
from alonzo.cli import client as connection
from alonzo.cli.main import COMMANDS

Run = Callable[..., Result]


class FakeApi:
    """Answers calls from functions of the same name, and remembers them."""

    def __init__(self, **answers: Callable[..., dict[str, Any]]) -> None:
        self._answers = answers
        self.calls: list[tuple[str, dict[str, Any]]] = []

    def __getattr__(self, name: str) -> Callable[..., dict[str, Any]]:
        def call(**params: Any) -> dict[str, Any]:
            self.calls.append((name, params))
            return self._answers[name](**params)

        return call


def not_found(code: str = "ResourceNotFoundException", message: str = "Function not found: f") -> Exception:
    return ClientError({"Error": {"Code": code, "Message": message}}, "Operation")


def fail(error: Exception) -> Callable[..., dict[str, Any]]:
    def raising(**_: Any) -> dict[str, Any]:
        raise error

    return raising


def use(monkeypatch: pytest.MonkeyPatch, command: str, **apis: FakeApi) -> None:
    module = __import__(f"alonzo.cli.{command}", fromlist=["client"])
    monkeypatch.setattr(module, "client", lambda service, **_: apis["functions" if service == "lambda" else service])


def test_the_version_is_printed(run: Run) -> None:
    """`alonzo --version` names the package's version."""
    result = run("--version")
    assert (result.exit_code, result.output) == (0, f"alonzo {__version__}\n")


def test_help_lists_every_command_without_importing_it() -> None:
    """`alonzo --help` shows the table, and loads neither boto3, rich, SQLAlchemy nor the server."""
    code = (
        "import sys\nfrom alonzo.cli.main import main\n"
        "try: main(['--help'], prog_name='alonzo')\nexcept SystemExit: pass\n"
        "heavy = {'boto3', 'botocore', 'rich', 'sqlalchemy', 'uvicorn', 'alonzo.app'} & set(sys.modules)\n"
        "assert not heavy, heavy"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    for name, (_, text) in COMMANDS.items():
        assert name in done.stdout
        assert text in done.stdout


@pytest.mark.parametrize("name", list(COMMANDS))
def test_every_command_has_help(run: Run, name: str) -> None:
    """Each command in the table can be imported and explains itself."""
    result = run(name, "--help")
    assert result.exit_code == 0
    assert result.output.startswith(f"Usage: alonzo {name}")


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["lgos"], "There is no command 'lgos'. Did you mean 'logs'?"),
        (["quux"], "There is no command 'quux'. `alonzo --help` lists them."),
        (["logs"], "Missing argument 'FUNCTION'. See `alonzo logs --help`."),
        (["logs", "f", "--nope"], "No such option"),
        (["logs", "f", "--since", "yesterday"], "'yesterday' is no time. Write 10m, 2h, 3d, or 2026-01-31T12:00."),
        (["cost", "--from", "31.1."], "'31.1.' is no day. Write it as 2026-01-31."),
        (["invoke", "f", "--payload", "{"], "The payload is not JSON"),
        (["invoke", "f", "--payload", "@/nowhere"], "The payload cannot be read"),
        (["invoke", "f", "--event", "--tail"], "--tail needs an answer, --event has none."),
        (["up", "--port", "99999"], "See `alonzo up --help`."),
        (["up", "--config", "/nowhere.toml"], "Cannot read the settings file /nowhere.toml"),
    ],
)
def test_errors_are_one_sentence_with_exit_code_1(run: Run, arguments: list[str], sentence: str) -> None:
    """What is wrong and what to do, on standard error, without a traceback."""
    result = run(*arguments)
    assert result.exit_code == 1
    assert sentence in result.stderr
    assert result.stdout == ""
    assert "Traceback" not in result.stderr


def test_an_unknown_setting_is_named_with_the_nearest(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    """A misspelt ALONZO_ variable stops every command that reads settings."""
    monkeypatch.setenv("ALONZO_PROT", "1")
    result = run("env")
    assert result.exit_code == 1
    assert "Unknown setting 'prot'. Did you mean 'port'?" in result.stderr


@pytest.mark.parametrize(
    "arguments", [["logs", "f"], ["invoke", "f"], ["cost"], ["events"]], ids=lambda arguments: arguments[0]
)
def test_without_a_server_the_mend_is_named(run: Run, monkeypatch: pytest.MonkeyPatch, arguments: list[str]) -> None:
    """Nothing listens: the sentence says to run `alonzo up`."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{taken.getsockname()[1]}"
        monkeypatch.setenv("ALONZO_ENDPOINT", url)
        result = run(*arguments)
    assert result.exit_code == 1
    assert result.stderr == f"No server answers at {url}. Start one with `alonzo up`, or set ALONZO_ENDPOINT.\n"


def test_env_points_at_the_server(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    """A POSIX shell that evaluates the output has the endpoint, keys and region, and no old session token."""
    monkeypatch.setenv("ALONZO_PORT", "4599")
    monkeypatch.setenv("ALONZO_REGION", "eu-central-1")
    script = run("env").output + "env | grep ^AWS_ | sort"
    done = subprocess.run(
        ["sh", "-c", script],
        env={"AWS_SESSION_TOKEN": "old", "PATH": "/usr/bin:/bin"},
        capture_output=True,
        text=True,
        timeout=30,
    )
    assert done.stdout.splitlines() == [
        "AWS_ACCESS_KEY_ID=test",
        "AWS_DEFAULT_REGION=eu-central-1",
        "AWS_ENDPOINT_URL=http://127.0.0.1:4599",
        "AWS_REGION=eu-central-1",
        "AWS_SECRET_ACCESS_KEY=test",
    ]


def test_env_takes_the_port_of_up(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    """`--port` names the server, ALONZO_ENDPOINT does otherwise."""
    monkeypatch.setenv("ALONZO_ENDPOINT", "http://127.0.0.1:4999")
    assert "AWS_ENDPOINT_URL=http://127.0.0.1:4999\n" in run("env").output
    assert "AWS_ENDPOINT_URL=http://127.0.0.1:4777\n" in run("env", "--port", "4777").output


@pytest.mark.parametrize(
    ("shell", "expected"),
    [
        ("fish", "set -gx AWS_ACCESS_KEY_ID 'test'"),
        ("powershell", "$Env:AWS_ACCESS_KEY_ID = 'test'"),
        ("json", '"AWS_ACCESS_KEY_ID": "test"'),
    ],
)
def test_env_speaks_other_shells(run: Run, shell: str, expected: str) -> None:
    """fish, PowerShell and JSON have their own forms."""
    assert expected in run("env", "--shell", shell).output


def test_env_beyond_loopback_needs_the_administrators_key(
    run: Run, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """The key comes from the data folder; without one the sentence says how to get it."""
    monkeypatch.setenv("ALONZO_HOST", "0.0.0.0")
    missing = run("env")
    assert missing.exit_code == 1
    assert "Start the server once on this data folder" in missing.stderr
    folder = tmp_path / "data"
    folder.mkdir()
    (folder / "credentials").write_text(
        "[default]\naws_access_key_id = AKIAEXAMPLE\naws_secret_access_key = it's+secret\nregion = us-east-1\n"
    )
    printed = run("env").output
    assert "export AWS_ACCESS_KEY_ID=AKIAEXAMPLE" in printed
    assert """export AWS_SECRET_ACCESS_KEY='it'"'"'s+secret'""" in printed
    assert "AWS_ENDPOINT_URL=http://127.0.0.1:4566" in printed


@pytest.mark.parametrize(
    ("environment", "expected"),
    [
        ({}, ("test", "test", None)),
        ({"AWS_ACCESS_KEY_ID": "AKIAREALREALREAL", "AWS_SECRET_ACCESS_KEY": "real"}, ("test", "test", None)),
        ({"AWS_ACCESS_KEY_ID": "111122223333", "AWS_SECRET_ACCESS_KEY": "x"}, ("111122223333", "x", None)),
        (
            {
                "AWS_ENDPOINT_URL": "http://127.0.0.1:4566",
                "AWS_ACCESS_KEY_ID": "AKIALOCAL",
                "AWS_SECRET_ACCESS_KEY": "s",
                "AWS_SESSION_TOKEN": "t",
            },
            ("AKIALOCAL", "s", "t"),
        ),
    ],
)
def test_real_aws_keys_never_leave(
    monkeypatch: pytest.MonkeyPatch, environment: dict[str, str], expected: tuple[str, str, str | None]
) -> None:
    """The environment's keys are used only where they are meant for this server."""
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    assert connection.credentials("http://127.0.0.1:4566") == expected


def test_invoke_shows_answer_log_and_duration(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    """The answer alone is on standard output, so that it can be piped."""
    api = FakeApi(
        invoke=lambda **_: {
            "Payload": io.BytesIO(b'{"ok":true}'),
            "ExecutedVersion": "3",
            "LogResult": base64.b64encode(b"START\nhello\n").decode(),
        }
    )
    use(monkeypatch, "invoke", functions=api)
    result = run("invoke", "f", "--payload", "-", "--qualifier", "live", "--tail", input='{"a": 1}')
    assert result.exit_code == 0
    assert result.stdout == '{"ok":true}\n'
    assert "START\nhello\nVersion 3 answered in " in result.stderr
    assert api.calls == [
        (
            "invoke",
            {
                "FunctionName": "f",
                "Payload": b'{"a": 1}',
                "InvocationType": "RequestResponse",
                "Qualifier": "live",
                "LogType": "Tail",
            },
        )
    ]


def test_invoke_of_a_failing_function_exits_with_1(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    """The error's payload is the output, and scripts notice."""
    api = FakeApi(invoke=lambda **_: {"Payload": io.BytesIO(b'{"errorType":"E"}'), "FunctionError": "Unhandled"})
    use(monkeypatch, "invoke", functions=api)
    result = run("invoke", "f")
    assert (result.exit_code, result.stdout) == (1, '{"errorType":"E"}\n')
    assert "failed (Unhandled)" in result.stderr


def test_the_services_error_is_passed_on(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    """Message and code of a ClientError become the sentence."""
    use(monkeypatch, "invoke", functions=FakeApi(invoke=fail(not_found())))
    result = run("invoke", "f")
    assert result.stderr == "Function not found: f (ResourceNotFoundException)\n"


def event(at: int, message: str, number: int = 0) -> dict[str, Any]:
    return {
        "timestamp": at,
        "message": message,
        "eventId": f"{at:040d}{number:016d}",
        "logStreamName": "s",
        "ingestionTime": at,
    }


class FakeLog:
    """A log group that gets a batch of events with each search."""

    def __init__(self, first: list[dict[str, Any]], *later: list[dict[str, Any]]) -> None:
        self.events = first
        self.later = list(later)

    def search(self, **params: Any) -> dict[str, Any]:
        found = sorted((e for e in self.events if e["timestamp"] >= params.get("startTime", 0)), key=_id)
        if params.get("startFromHead", True) is False:
            found.reverse()
        if self.later:
            self.events = self.events + self.later.pop(0)
        else:
            self.ended = True
        return {"events": found}


def _id(one: dict[str, Any]) -> str:
    text: str = one["eventId"]
    return text


def follow(monkeypatch: pytest.MonkeyPatch, log: FakeLog) -> FakeApi:
    """Use `log`, and press Ctrl-C once it has no more to give."""
    import alonzo.cli.logs as module

    def sleep(_: float) -> None:
        if not log.later and getattr(log, "ended", False):
            raise KeyboardInterrupt

    monkeypatch.setattr(module.time, "sleep", sleep)
    api = FakeApi(filter_log_events=log.search, describe_log_streams=lambda **_: {})
    functions = FakeApi(
        get_function_configuration=lambda **_: {"FunctionName": "f", "LoggingConfig": {"LogGroup": "/g"}}
    )
    use(monkeypatch, "logs", logs=api, functions=functions)
    return api


def test_logs_shows_the_last_lines_of_the_functions_own_group(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    """The group comes from the function's configuration; control characters are defused."""
    api = follow(monkeypatch, FakeLog([event(0, "old"), event(1000, "a\x1b[31mb\tc\n"), event(2000, "last")]))
    result = run("logs", "f", "-n", "2", "--filter", "ERROR")
    assert result.stdout == "1970-01-01 00:00:01.000  a�[31mb\tc\n1970-01-01 00:00:02.000  last\n"
    assert api.calls[-1][1]["logGroupName"] == "/g"
    assert api.calls[-1][1]["filterPattern"] == "ERROR"


def test_logs_follow_shows_each_line_once_and_late_ones_too(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    """New events appear once, also those that arrive after later ones of another stream; old ones stay hidden."""
    log = FakeLog(
        [event(50_000, "hidden"), event(51_000, "shown")],
        [event(52_000, "new")],
        [event(51_500, "late"), event(53_000, "newer")],
        [],
        [],
    )
    follow(monkeypatch, log)
    result = run("logs", "f", "-n", "1", "--follow", "--json")
    assert [json.loads(line)["message"] for line in result.stdout.splitlines()] == ["shown", "new", "late", "newer"]
    assert result.exit_code == 130


def test_logs_since_reads_every_page_from_there(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    """`--since` gives a start time, and pages are followed to their end."""
    pages = {None: {"events": [event(1, "a")], "nextToken": "x"}, "x": {"events": [event(2, "b")]}}
    api = FakeApi(
        filter_log_events=lambda nextToken=None, **_: pages[nextToken],
        describe_log_streams=lambda **_: {},
    )
    use(monkeypatch, "logs", logs=api)
    result = run("logs", "/group", "--since", "1970-01-02T00:00", "--json")
    assert [json.loads(line)["message"] for line in result.stdout.splitlines()] == ["a", "b"]
    assert api.calls[1][1]["startTime"] == 86_400_000


def test_logs_of_a_group_that_is_not_there(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    """A function that has not run has no log group: the sentence says so."""
    missing = fail(not_found())
    use(
        monkeypatch,
        "logs",
        logs=FakeApi(describe_log_streams=missing),
        functions=FakeApi(get_function_configuration=missing),
    )
    result = run("logs", "f")
    assert result.exit_code == 1
    assert result.stderr == "There is no log group /aws/lambda/f: nothing has written to it yet.\n"


REPORT_ROW = {
    "FunctionName": "f",
    "Region": "us-east-1",
    "Requests": 1200,
    "Errors": 0,
    "ColdStarts": 1,
    "BilledMs": 5,
    "GBSeconds": 12.5,
    "StorageGBSeconds": 0.0,
    "RequestCharge": 0.00024,
    "DurationCharge": 0.000208334,
    "StorageCharge": 0.0,
    "TotalCharge": 0.000448334,
}


def test_cost_is_a_table_or_json(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    """The bill fits in 80 columns; `--json` is the report itself."""
    report = {
        "StartDate": "2026-01-01",
        "EndDate": "2026-01-31",
        "Currency": "USD",
        "PriceRegion": "us-east-1",
        "Functions": [REPORT_ROW],
        "Total": REPORT_ROW,
        "FreeTier": 0.0004,
        "Due": 0.000048334,
    }
    api = FakeApi(get_cost_report=lambda **_: {**report, "ResponseMetadata": {}})
    use(monkeypatch, "cost", alonzo=api)
    shown = run("cost", "--from", "2026-01-01", "--to", "2026-01-31").stdout
    assert all(word in shown for word in ("1,200", "12.500", "0.00044833", "0.00004833 would be due"))
    assert max(len(line) for line in shown.splitlines()) <= 80
    assert REPORT_ROW["FunctionName"] in shown and "/tmp $" not in shown
    assert api.calls[0][1] == {"AllRegions": False, "StartDate": "2026-01-01", "EndDate": "2026-01-31"}
    assert json.loads(run("cost", "--json").stdout) == report


def test_events_are_a_table_or_json_lines(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    """The queue with states and errors; markup in an error text is only text."""
    job = {"Id": "j", "Kind": "EVENT", "State": "RETRYING", "Lane": "f", "Attempts": 2, "LastError": "[red]x\x1b"}
    api = FakeApi(list_events=lambda **_: {"Events": [job]})
    use(monkeypatch, "events", alonzo=api)
    assert "[red]x�" in run("events", "--state", "retrying").stdout
    assert api.calls[0][1] == {"Limit": 100, "AllRegions": False, "State": "RETRYING"}
    assert json.loads(run("events", "--json").stdout)["Id"] == "j"


def test_runtime_install_shows_progress_and_failure(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each new step is shown once; a failure is its reason with exit code 1."""
    answers = [
        {"State": "INSTALLING", "Progress": "Copying"},
        {"State": "INSTALLING", "Progress": "Copying"},
        {"State": "READY", "Progress": "Ready"},
    ]
    api = FakeApi(install_runtime=lambda **_: answers.pop(0))
    use(monkeypatch, "runtime", alonzo=api)
    result = run("runtime", "install", "python3.12")
    assert result.stdout == "python3.12 is ready.\n"
    assert result.stderr.count("Copying") == 1
    assert [params["Seen"] for _, params in api.calls] == ["", "Copying", "Copying"]
    failed = FakeApi(install_runtime=lambda **_: {"State": "FAILED", "Progress": "Failed", "Reason": "It is offline."})
    use(monkeypatch, "runtime", alonzo=failed)
    result = run("runtime", "install", "python3.12")
    assert (result.exit_code, result.stderr.strip()) == (1, "It is offline.")


def test_runtime_list_shows_what_is_missing(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each runtime with its state, the mend for a missing interpreter, and one line for those that are not there."""
    found = [
        {"Name": "python3.12", "Available": True, "Prepared": True, "Packages": {"boto3": "1.2", "other": "3"}},
        {"Name": "python3.14", "Available": False, "Prepared": False, "Reason": "none found", "Mend": "get one"},
        {"Name": "java21", "Available": False, "Prepared": False, "Reason": "not yet"},
        {"Name": "java25", "Available": False, "Prepared": False, "Reason": "not yet"},
    ]
    use(monkeypatch, "runtime", alonzo=FakeApi(list_runtimes=lambda **_: {"Runtimes": found}))
    shown = run("runtime", "list").stdout
    assert "boto3 1.2" in shown
    assert "python3.14: none found; get one\n" in shown
    assert "java21, java25: not yet\n" in shown
    assert json.loads(run("runtime", "list", "--json").stdout) == found


@pytest.mark.parametrize(("isolation", "code"), [("process", 1)])
def test_doctor_without_isolation_exits_with_1(
    run: Run, monkeypatch: pytest.MonkeyPatch, isolation: str, code: int
) -> None:
    """Plain processes isolate nothing, and doctor says so line by line, with the mend."""
    import alonzo.cli.doctor as module

    monkeypatch.setenv("ALONZO_ISOLATION", isolation)
    monkeypatch.setattr(module, "_runtimes", lambda _: [{"Name": "python3.12", "Available": False, "Mend": "get it"}])
    result = run("doctor")
    assert result.exit_code == code
    assert "✗ isolation" in result.output
    assert "mend: get it" in result.output
    assert "could not be isolated" in result.output
    told = json.loads(run("doctor", "--json").stdout)
    assert told["Isolated"] is False
    assert {line["name"] for line in told["Enforcements"]} >= {"isolation", "memory", "network"}


@pytest.fixture
def variables(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Sets them for a doctor that looks at neither the machine nor its runtimes."""
    import alonzo.cli.doctor as module

    async def nothing(settings: object) -> tuple[str, list[object], str]:
        return "", [], ""

    monkeypatch.setattr(module, "_sandbox", nothing)
    monkeypatch.setattr(module, "_runtimes", lambda _: [])
    for name, value in request.param.items():
        monkeypatch.setenv(name, value)


@pytest.mark.parametrize(
    ("variables", "told"),
    [
        ({}, "is forked from an interpreter that has started"),
        ({"ALONZO_RUNTIME_CLIENT": "aws"}, "Python is executed, because AWS's own client cannot be forked"),
        ({"ALONZO_COLD_START": "real"}, "the runtime starts anew in every environment"),
        ({"ALONZO_COLD_START": "aws"}, "a pause that grows with the package"),
        ({"ALONZO_ISOLATION": "process"}, "without isolation nothing is started ahead"),
    ],
    indirect=["variables"],
)
@pytest.mark.usefixtures("variables")
def test_doctor_says_how_environments_start(run: Run, told: str) -> None:
    """Whoever reads an Init Duration must know what it measures."""
    assert told in run("doctor").output
    assert told in json.loads(run("doctor", "--json").stdout)["ColdStarts"]["Detail"]


@pytest.mark.parametrize(
    ("variables", "told"),
    [
        ({}, " MiB together (25 % of "),
        ({"ALONZO_IDLE_MEMORY_PERCENT": "2.5"}, " MiB together (2.5 % of "),
        ({"ALONZO_IDLE_MEMORY_PERCENT": "0"}, "without a bound on their memory"),
        ({"ALONZO_IDLE_TIMEOUT_S": "77"}, "frozen after 50 ms; ended after 77 s"),
    ],
    indirect=["variables"],
)
@pytest.mark.usefixtures("variables")
def test_doctor_says_what_becomes_of_idle_environments(run: Run, told: str) -> None:
    """How long they are kept, and how much memory they may take."""
    assert told in run("doctor").output
    assert told in json.loads(run("doctor", "--json").stdout)["IdleEnvironments"]


@pytest.mark.parametrize(
    ("name", "version", "interpreter", "told"),
    [
        ("python3.12", "3.12.1", "/usr/bin/python3.12", "Python 3.12.1 at /usr/bin/python3.12, ready"),
        ("nodejs20.x", "20.1.0", "/usr/bin/node", "Node.js 20.1.0 at /usr/bin/node, ready"),
        (
            "provided.al2",
            "Debian 12",
            "bootstrap of the function",
            "the bootstrap of the function, on Debian 12, ready",
        ),
    ],
)
def test_doctor_calls_each_interpreter_by_its_name(
    run: Run, monkeypatch: pytest.MonkeyPatch, name: str, version: str, interpreter: str, told: str
) -> None:
    """Not everything that runs functions is a Python."""
    import alonzo.cli.doctor as module

    monkeypatch.setenv("ALONZO_ISOLATION", "process")
    found = {
        "Name": name,
        "Available": True,
        "Prepared": True,
        "InterpreterVersion": version,
        "Interpreter": interpreter,
    }
    monkeypatch.setattr(module, "_runtimes", lambda _: [found])
    assert f"✓ {name:<14} {told}\n" in run("doctor").output

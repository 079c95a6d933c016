"""The side-by-side benchmark computes and writes what it measured, and nothing else."""

from __future__ import annotations

import io
import json
import re
import zipfile
from pathlib import Path
from typing import Any

import pytest
from benchmarks.peers import fetch, page, wrk
from benchmarks.peers.measure import QUICK, functions, percentile
from benchmarks.peers.peer import TASKS
from benchmarks.peers.programs import PEERS, Alonzo, Emulator
from benchmarks.peers.where import part, shares
from benchmarks.peers.work import KINDS, kinds

ROOT = Path(__file__).resolve().parents[2]


def _load(rate: float, ms: float, failed: int = 0) -> dict[str, Any]:
    curve = {str(p): ms * (1 + p / 100) for p in wrk.PERCENTILES}
    return {"rates": [rate, rate], "curves": [curve, curve], "failed": failed, "requests": 1000}


@pytest.fixture
def data() -> dict[str, Any]:
    """One run with Alonzo and two of its peers."""
    both = {"Alonzo": [2.0] * 100, "AWS RIE": [50.0] * 99 + [80.0]}
    return {
        "machine": {
            "cores": 2,
            "processor": "a processor",
            "kernel": "6.18",
            "python": "3.11.7",
            "day": "2026-11-21",
            "load": 0.1,
            "generator": "wrk",
            "bare_server_per_s": 90000,
        },
        "plan": {"rounds": 2, "seconds": 2, "starts": 5},
        "peers": {"Alonzo": "0.1.0", "AWS RIE": "1", "moto": "5"},
        "skipped": {"ministack": "could not be fetched: no network"},
        "startup": {name: {"s": [0.5], "mb": [60.0]} for name in ("Alonzo", "AWS RIE", "moto")},
        "cold": {"python": both, "boto3": {"Alonzo": [20.0, 30.0]}},
        "warm": {"Alonzo": {"1": _load(4000, 0.2), "8": _load(9000, 0.9)}, "AWS RIE": {"1": _load(1000, 1.0, 7)}},
        "printing": {"Alonzo": _load(3500, 0.3), "AWS RIE": _load(900, 1.2)},
        "events": {"s3_event": {"Alonzo": [4.0]}, "sqs_event": {"Alonzo": [5.0]}},
        "stores": {
            "s3_put": {"Alonzo": _load(3000, 2), "moto": _load(300, 20)},
            "sqs_send": {"Alonzo": _load(5000, 1), "moto": _load(500, 10)},
        },
        "where": {
            "warm": {
                "mean_us": 230.0,
                "p50_us": 200.0,
                "p99_us": 500.0,
                "bare_us": 30.0,
                "cpu_us": {"server": 80.0, "function": 60.0},
                "parts": {"engine": 0.5, "gateway": 0.5},
            },
            "cold": {
                "n": 30,
                "total_ms": 5.0,
                "init_ms": 2.0,
                "duration_ms": 1.0,
                "cpu_ms": {"server": 1.0, "function": 3.0},
            },
        },
    }


def test_every_figure_has_a_cell_for_every_peer(data: dict[str, Any]) -> None:
    """Rows are as wide as there are peers; who did not do the work has a dash, not a zero."""
    found = {row[0]: list(row[1:]) for row in page.rows(data)}
    assert all(len(cells) == 4 for cells in found.values())
    assert found["cold start: Python, 100 bytes; p50"] == ["ms", "2.00", "50.0", "–"]
    assert found["warm Invokes, 8 conn."] == ["/s", "9,000", "–", "–"]
    assert found["S3 puts of 4 KiB, 8 conn."] == ["/s", "3,000", "–", "300"]


def test_a_p99_needs_a_hundred_measurements(data: dict[str, Any]) -> None:
    """With fewer, the row says that it is the worst."""
    found = {row[0]: list(row[1:]) for row in page.rows(data)}
    assert found["… p99 of 100"] == ["ms", "2.00", "80.0", "–"]
    assert found["… the worst of 2"] == ["ms", "30.0", "–", "–"]


def test_a_p99_of_few_answers_is_not_given(data: dict[str, Any]) -> None:
    """A peer that answered fewer than 100 times in a round has a p50 only, and the page says why."""
    data["warm"]["AWS RIE"]["1"]["requests"] = 66
    found = {row[0]: list(row[1:]) for row in page.rows(data)}
    assert found["warm Invoke, 1 connection; p50"] == ["ms", "0.30", "1.50", "–"]
    assert found["warm Invoke, 1 connection; p99"] == ["ms", "0.40", "–", "–"]
    assert "AWS RIE, p99 of warm Invokes: fewer than 100 answers in a round." in page.page(data)


def test_the_page_names_who_is_missing_and_what_failed(data: dict[str, Any]) -> None:
    """Skipped peers come with their reason, empty cells with theirs, failed requests are counted."""
    said = page.page(data)
    assert "ministack: not in this run: could not be fetched: no network." in said
    assert "moto, small Python" in said
    assert "AWS RIE: 7 of 1,000 warm Invokes on 1 connections failed." in said
    assert "AWS RIE: 25.0 × faster than its cold start, 4.0 × its rate on 1." in said
    assert not re.search(r"(?<!\w)\{\w+\}", said)


def test_a_busy_machine_is_named(data: dict[str, Any]) -> None:
    """Figures taken beside other work say so."""
    assert page.BUSY not in page.page(data)
    data["machine"]["load"] = 5.0
    assert page.BUSY in page.page(data)


def test_slower_is_said_too(data: dict[str, Any]) -> None:
    """Where a peer was faster, the page says so."""
    data["cold"]["python"]["AWS RIE"] = [1.0] * 100
    assert "- AWS RIE: 2.0 × slower than its cold start, 4.0 × its rate on 1." in page.ratios(data)


def test_reasons_are_for_tasks_that_exist() -> None:
    """Whatever a peer cannot do is one of the tasks, and each task has words on the page."""
    assert set(page.TASKS) == set(TASKS)
    assert all(set(peer.cannot) <= set(TASKS) for peer in PEERS)
    assert set(KINDS) == set(kinds()) <= set(TASKS)


def test_a_peer_gets_the_functions_that_it_can_run() -> None:
    """One function for each cold start, and none for kinds that the peer has no runtime for."""
    ours, theirs = functions(Alonzo(), QUICK), functions(Emulator(), QUICK)
    assert sum(name.startswith("python") for name in ours) == QUICK.cold
    assert [name for name in theirs if name.startswith("node")] == []
    assert set(ours) - set(theirs) == {f"node{n}" for n in range(QUICK.cold_others)}


def test_packages_are_always_the_same() -> None:
    """The large package has the size that its name says, and the same bytes each time."""
    large = kinds()["package"]
    assert large == kinds()["package"]
    assert 7_500_000 < sum(map(len, large.files.values())) < 8_500_000
    with zipfile.ZipFile(io.BytesIO(large.zipped())) as archive:
        assert len(archive.namelist()) == 201


def test_what_cannot_be_fetched_says_why() -> None:
    """A missing program and a failing one are named, with what was printed."""
    with pytest.raises(fetch.Unavailable, match="serverless-offline: no-such-program is not installed"):
        fetch.run(["no-such-program"], "serverless-offline")
    with pytest.raises(fetch.Unavailable, match="ministack could not be fetched: ERROR: no network"):
        fetch.run(["sh", "-c", "echo ERROR: no network >&2; echo bye >&2; exit 1"], "ministack")


def test_settings_do_not_reach_the_peers(monkeypatch: pytest.MonkeyPatch) -> None:
    """A peer gets a plain environment: no credentials or options of whoever runs the benchmark."""
    monkeypatch.setenv("AWS_PROFILE", "mine")
    monkeypatch.setenv("PYTHONDONTWRITEBYTECODE", "1")
    assert set(fetch.environment(PORT="1")) <= {"PATH", "HOME", "LANG", "TMPDIR", "PORT"}


def test_the_folder_is_a_setting(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """ALONZO_BENCHMARKS_DIR says where the peers are kept."""
    monkeypatch.setenv("ALONZO_BENCHMARKS_DIR", str(tmp_path / "peers"))
    assert fetch.folder() == tmp_path / "peers"
    assert (tmp_path / "peers").is_dir()


def test_wrk_is_read() -> None:
    """Rates, percentiles in milliseconds, and refusals together with broken connections."""
    points = ", ".join(str(1000.0 + n) for n in range(len(wrk.PERCENTILES)))
    result = {"requests": 4000, "us": 2_000_000, "refused": 3, "broken": 2}
    line = json.dumps(result)[:-1] + f', "points": [{points}]}}'
    found = wrk.parse(f"Running 2s test @ http://x\n\nRESULT {line}\n")
    assert (found.rate, found.requests, found.failed) == (2000.0, 4000, 5)
    assert found.percentiles[1] == 1.0


def test_requests_reach_lua_byte_for_byte() -> None:
    """Every byte is written as a decimal escape, so quotes and newlines cannot end the string."""
    assert wrk._lua(b'a"\n\xff') == '"\\097\\034\\010\\255"'


def test_samples_belong_to_the_innermost_package() -> None:
    """Library code counts for the package of ours that called it."""
    stacks = "\n".join(
        [
            "run (alonzo/app.py:9);handle (src/alonzo/gateway/server.py:3);loads (orjson.py:1) 3",
            "run (alonzo/app.py:9);call (alonzo/dispatch.py:3);run (alonzo/services/lambda_/operations/invoke.py:3) 1",
            "run (alonzo/app.py:9) 4",
        ]
    )
    assert shares(stacks) == {"event loop": 0.5, "gateway": 0.375, "services/lambda_": 0.125}
    assert part(["x (alonzo/dispatch.py:1)"]) == "dispatch"


def test_percentiles_are_values_that_were_measured() -> None:
    """By the nearest rank, never between two."""
    assert [percentile([4.0, 1.0, 3.0, 2.0], p) for p in (0, 50, 99)] == [1.0, 3.0, 4.0]


def test_the_page_is_that_of_the_kept_figures() -> None:
    """docs/performance.md says what docs/performance/measured.json says."""
    kept = json.loads((ROOT / "docs/performance/measured.json").read_text())
    assert (ROOT / "docs/performance.md").read_text() == page.page(kept), "run make bench-page"

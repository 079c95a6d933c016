"""The pictures of docs/performance.md: `python -m benchmarks.peers.plots MEASURED.json FOLDER`.

Runs on the interpreter of the benchmark's own environment, which has matplotlib; imports nothing of the project's.
"""

from __future__ import annotations

import json
import statistics
import sys
from pathlib import Path
from typing import Any

import matplotlib

matplotlib.use("svg")
import matplotlib.pyplot as plt
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, LogLocator, NullLocator

COLOURS = {
    "Alonzo": "#0b5fd6",
    "AWS RIE": "#e08a00",
    "ministack": "#0f9d75",
    "serverless-offline": "#c2528b",
    "moto": "#7a7a7a",
}
KINDS = {
    "python": "Python,\n100 bytes",
    "package": "Python, 8 MB,\n50 modules imported",
    "boto3": "Python,\nimport boto3",
    "node": "Node,\n80 bytes",
}
plt.rcParams.update(
    {
        "font.family": "DejaVu Sans",
        "font.size": 11,
        "svg.hashsalt": "alonzo",
        "axes.spines.top": False,
        "axes.spines.right": False,
        "axes.edgecolor": "#888888",
        "axes.labelcolor": "#333333",
        "axes.titlesize": 13,
        "axes.titlelocation": "left",
        "axes.titlepad": 14,
        "axes.titleweight": "bold",
        "xtick.color": "#333333",
        "ytick.color": "#333333",
        "grid.color": "#e3e3e3",
        "legend.frameon": False,
    }
)


def _figure(title: str, height: float = 4.2) -> tuple[Figure, Axes]:
    figure, axes = plt.subplots(figsize=(8.4, height), layout="constrained")
    axes.set_title(title)
    axes.grid(True, which="major")
    axes.set_axisbelow(True)
    return figure, axes


def _number(value: float, _position: object = None) -> str:
    """1234.5 as people write it: no exponent, thousands grouped, no digits that mean nothing."""
    return f"{value:,.0f}" if value >= 10 else f"{value:g}"


def _logarithmic(axis: Any) -> None:
    """Ticks at 1, 2, 5, 10, …, written out."""
    axis.axes.set(**{f"{axis.axis_name}scale": "log"})
    axis.set_major_locator(LogLocator(subs=(1, 2, 5)))
    axis.set_minor_locator(NullLocator())
    axis.set_major_formatter(FuncFormatter(_number))


def _style(name: str) -> dict[str, Any]:
    ours = name == "Alonzo"
    return {"color": COLOURS.get(name, "#444444"), "linewidth": 3 if ours else 2, "zorder": 5 if ours else 3}


def cold_distribution(data: dict[str, Any]) -> Figure:
    """The share of cold starts that were done after a time."""
    figure, axes = _figure("Cold start of a small Python function")
    for name, times in data["cold"]["python"].items():
        ordered = sorted(times)
        shares = [(n + 1) / len(ordered) * 100 for n in range(len(ordered))]
        label = f"{name}, median {_figures(statistics.median(times))} ms"
        axes.step(ordered, shares, where="post", label=label, **_style(name))
    _logarithmic(axes.xaxis)
    axes.set(xlabel="milliseconds from request to answer (logarithmic)", ylabel="% of cold starts done", ylim=(0, 102))
    _legend(axes)
    return figure


def _figures(value: float) -> str:
    return f"{value:,.0f}" if value >= 100 else f"{value:.1f}" if value >= 10 else f"{value:.2f}"


def _legend(axes: Axes) -> None:
    axes.legend(
        loc="upper center", bbox_to_anchor=(0.5, -0.17), ncols=4 if len(axes.lines) < 3 else 2, handlelength=1.6
    )


def cold_kinds(data: dict[str, Any]) -> Figure:
    """Median and range of cold starts by kind of function."""
    figure, axes = _figure("Cold start by kind of function", 4.6)
    names = list(COLOURS)
    kinds = [kind for kind in KINDS if data["cold"].get(kind)]
    for row, kind in enumerate(kinds):
        for name, times in data["cold"][kind].items():
            y = row + (names.index(name) - 1.5) * 0.17
            style = _style(name)
            axes.plot([min(times), max(times)], [y, y], color=style["color"], linewidth=3, alpha=0.3, zorder=2)
            axes.plot(statistics.median(times), y, "o", color=style["color"], markersize=8, zorder=5)
    for name in names:
        if any(name in data["cold"][kind] for kind in kinds):
            axes.plot([], [], "o", color=COLOURS[name], label=name)
    axes.set_yticks(range(len(kinds)), [KINDS[kind] for kind in kinds])
    axes.invert_yaxis()
    axes.grid(False, axis="y")
    _logarithmic(axes.xaxis)
    axes.set_xlabel("milliseconds (logarithmic): median, best to worst")
    axes.legend(loc="upper center", bbox_to_anchor=(0.45, -0.16), ncols=4, handletextpad=0.2)
    return figure


def _curve(curves: list[dict[str, float]]) -> list[tuple[float, float]]:
    return [(float(p), statistics.median(curve[p] for curve in curves)) for p in curves[0]]


def warm_latency(data: dict[str, Any]) -> Figure:
    """Latency by percentile, tails drawn as wide as they are rare."""
    figure, axes = _figure("Warm Invoke on one connection: latency by percentile")
    shown = [10, 50, 90, 99, 99.9]
    for name, loads in data["warm"].items():
        if "1" in loads:
            answers = loads["1"]["requests"] / len(loads["1"]["rates"])
            points = [(100 / (100 - p), ms) for p, ms in _curve(loads["1"]["curves"]) if 100 / (100 - p) <= answers]
            axes.plot(*zip(*points, strict=True), label=name, **_style(name))
    axes.set_xscale("log")
    axes.set_xticks([100 / (100 - p) for p in shown], [f"{p:g} %" for p in shown])
    axes.xaxis.set_minor_locator(NullLocator())
    _logarithmic(axes.yaxis)
    axes.set(xlabel="that share of the answers came within …", ylabel="milliseconds (logarithmic)")
    _legend(axes)
    return figure


def throughput(data: dict[str, Any]) -> Figure:
    """Answers per second by connections."""
    figure, axes = _figure("Warm Invokes per second by connections")
    counts = sorted({int(c) for loads in data["warm"].values() for c in loads})
    for place, (name, loads) in enumerate(data["warm"].items()):
        at = [n + (place - 1.5) * 0.21 for n, c in enumerate(counts) if str(c) in loads]
        rates = [statistics.median(loads[str(c)]["rates"]) for c in counts if str(c) in loads]
        bars = axes.bar(at, rates, 0.19, label=name, color=COLOURS.get(name, "#444444"))
        axes.bar_label(bars, [f"{rate:,.0f}" for rate in rates], padding=3, fontsize=9.5)
    axes.set_xticks(range(len(counts)), [f"{c} connection{'s' if c > 1 else ''}" for c in counts])
    axes.yaxis.set_major_formatter(FuncFormatter(_number))
    axes.grid(False, axis="x")
    axes.margins(y=0.1)
    axes.set_ylabel("answers per second")
    axes.legend(loc="upper center", bbox_to_anchor=(0.5, -0.08), ncols=4, handlelength=1)
    return figure


def events(data: dict[str, Any]) -> Figure:
    """Every single latency from an event to its function."""
    figure, axes = _figure("From an event to the first line of its function", 3.6)
    rows: list[str] = []
    for task, title in (("s3_event", "S3 put"), ("sqs_event", "SQS send")):
        for name, times in data["events"][task].items():
            y = len(rows)
            rows.append(f"{title}, {name}")
            style = _style(name)
            spread = [y + ((n * 7) % 11 - 5) * 0.035 for n in range(len(times))]
            axes.plot(times, spread, "o", color=style["color"], markersize=5, alpha=0.5, markeredgewidth=0)
            median = statistics.median(times)
            axes.plot([median, median], [y - 0.32, y + 0.32], color="#222222", linewidth=2, zorder=6)
            axes.annotate(f"{_figures(median)} ms", (median, y - 0.34), ha="center", va="bottom", fontsize=10)
    axes.set_yticks(range(len(rows)), rows)
    axes.set_ylim(len(rows) - 0.4, -0.75)
    axes.grid(False, axis="y")
    _logarithmic(axes.xaxis)
    axes.set_xlabel("milliseconds (logarithmic); the line is the median")
    return figure


def where(data: dict[str, Any]) -> Figure:
    """One warm Invoke's median, cut into what it is spent on."""
    figure, axes = _figure("Processor time of one warm Invoke", 4.4)
    found = data["where"]["warm"]
    server = found["cpu_us"]["server"]
    rows = [(name, share * server) for name, share in found["parts"].items() if share >= 0.005]
    rest = server - sum(us for _, us in rows)
    rows = [(f"server: {name}", us) for name, us in rows] or [("server", server)]
    if found["parts"] and rest > 0.5:
        rows.append(("server: other parts", rest))
    rows.append(("function's process, sandbox host", found["cpu_us"]["function"]))
    colours = [COLOURS["Alonzo"] if name.startswith("server") else COLOURS["AWS RIE"] for name, _ in rows]
    bars = axes.barh([name for name, _ in rows], [us for _, us in rows], color=colours)
    axes.bar_label(bars, [f"{us:,.0f} µs" for _, us in rows], padding=4)
    axes.invert_yaxis()
    axes.grid(False, axis="y")
    axes.margins(x=0.12)
    axes.set_xlabel("microseconds of processor time per request")
    return figure


PICTURES = {
    "cold-distribution": cold_distribution,
    "cold-kinds": cold_kinds,
    "warm-latency": warm_latency,
    "throughput": throughput,
    "events": events,
    "where": where,
}


def main(source: str, target: str) -> None:
    data = json.loads(Path(source).read_text())
    folder = Path(target)
    folder.mkdir(parents=True, exist_ok=True)
    for name, draw in PICTURES.items():
        figure = draw(data)
        path = folder / f"{name}.svg"
        figure.savefig(path, metadata={"Date": None}, facecolor="white")
        plt.close(figure)
        path.write_text("".join(line.rstrip() + "\n" for line in path.read_text().splitlines()))


if __name__ == "__main__":
    main(*sys.argv[1:])

"""Draws how cost grows, from the lines of `make plots`: medians, and a band from the least to the greatest.

    plot.py GROWTH.txt FOLDER

The same lines make the same files, to the byte.
"""

from __future__ import annotations

import re
import statistics
import sys
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import matplotlib

matplotlib.use("svg")
import matplotlib.pyplot as plt
from matplotlib.axes import Axes
from matplotlib.ticker import FuncFormatter, NullFormatter

Lines = dict[str, dict[str, list[float]]]  # by benchmark and unit


class Curve(NamedTuple):
    label: str
    benchmark: str  # with {} for where along the axis
    unit: str = "ns/op"


class Plot(NamedTuple):
    name: str
    title: str
    along: str  # the axis
    at: list[int]
    curves: list[Curve]
    ticks: list[int]
    written: Callable[[float], str]  # a tick of the axis


def parse(text: str) -> tuple[dict[str, str], Lines]:
    about: dict[str, str] = {}
    lines: Lines = {}
    for line in text.splitlines():
        if found := re.fullmatch(r"(machine|date|commit): (.*)", line):
            about[found[1]] = found[2]
        fields = line.split()
        if line.startswith("Benchmark") and len(fields) >= 4:
            units = lines.setdefault(re.sub(r"-\d+$", "", fields[0].removeprefix("Benchmark")), {})
            for value, unit in zip(fields[2::2], fields[3::2], strict=True):
                units.setdefault(unit, []).append(float(value))
    return about, lines


def in_bytes(size: float) -> str:
    for unit in ("B", "KiB", "MiB", "GiB"):
        if size < 1024:
            return f"{size:g} {unit}"
        size /= 1024
    return f"{size:g} TiB"


def in_time(nanoseconds: float) -> str:
    for unit in ("ns", "µs", "ms"):
        if nanoseconds < 1000:
            return f"{nanoseconds:g} {unit}"
        nanoseconds /= 1000
    return f"{nanoseconds:g} s"


SIZES = [24, 256] + [4**i << 10 for i in range(11)]
READERS = [1, 2, 4, 8, 16, 32, 64, 256]
SEGMENTS = [1, 3, 10, 30, 100, 300, 1000]
PLOTS = [
    Plot(
        "growth-size",
        "Size of the payload",
        "payload",
        SIZES,
        [
            Curve("ReadInto, a copy", "GrowSize/size={}/by=ReadInto"),
            Curve("Write", "GrowSize/size={}/by=Write"),
            Curve("memcpy by as many threads", "GrowSize/size={}/by=memcpy"),
            Curve("Read and Valid, a view", "GrowSize/size={}/by=Read"),
        ],
        [24, 1 << 10, 32 << 10, 1 << 20, 32 << 20, 1 << 30],
        in_bytes,
    ),
    Plot(
        "growth-readers",
        "Number of readers",
        "readers",
        READERS,
        [
            Curve("wake of all parked goroutines, and back", "Wake/waiters={}/by=judemap"),
            Curve("the same with channels", "Wake/waiters={}/by=floor"),
            Curve("commit of 64 B, readers in another process", "CommitBesideReaders/readers={}/by=judemap"),
            Curve("Read and Valid, processor time", "GrowReaders/readers={}/by=Read", "cpu-ns/read"),
        ],
        READERS,
        lambda n: f"{n:g}",
    ),
    Plot(
        "growth-segments",
        "Number of open segments",
        "segments",
        SEGMENTS,
        [
            Curve("a frame's processor time, 4,000/s in all", "ManySegments/segments={}/by=judemap", "cpu-ns/frame"),
            Curve("from commit to view between processes, p50", "ManySegments/segments={}/by=judemap", "p50-ns"),
            Curve("Read and Valid, of all in turn", "GrowSegments/segments={}/by=turn"),
            Curve("Read and Valid, of one of them", "GrowSegments/segments={}/by=one"),
        ],
        [1, 10, 100, 1000],
        lambda n: f"{n:,.0f}",
    ),
]


def draw(axes: Axes, curve: Curve, at: list[int], lines: Lines, color: str, marker: str) -> None:
    values = [(x, lines.get(curve.benchmark.format(x), {}).get(curve.unit)) for x in at]
    there = [(x, v) for x, v in values if v]
    if not there:
        raise SystemExit(f"there is no line of {curve.benchmark}")
    xs = [x for x, _ in there]
    axes.fill_between(xs, [min(v) for _, v in there], [max(v) for _, v in there], color=color, alpha=0.15, linewidth=0)
    axes.plot(xs, [statistics.median(v) for _, v in there], color=color, marker=marker, markersize=4, label=curve.label)


def main(source: str, folder: str) -> None:
    text = Path(source).read_text()
    about, lines = parse(text)
    for why in sorted({line.strip() for line in text.splitlines() if "SKIP: it" in line}):
        print(why)
    # Text stays text, and ids come from what is drawn.
    plt.rcParams.update(
        {"svg.fonttype": "none", "svg.hashsalt": "judemap", "font.family": "sans-serif", "font.size": 10}
    )
    for plot in PLOTS:
        figure, axes = plt.subplots(figsize=(7.2, 4.4), layout="constrained", facecolor="white")
        for curve, color, marker in zip(plot.curves, ("#0072b2", "#d55e00", "#555555", "#009e73"), "osD^", strict=True):
            draw(axes, curve, plot.at, lines, color, marker)
        axes.set(xscale="log", yscale="log", title=plot.title, xlabel=plot.along, ylabel="time")
        axes.set_xticks(plot.ticks, [plot.written(x) for x in plot.ticks])
        axes.xaxis.set_minor_formatter(NullFormatter())
        axes.yaxis.set_major_formatter(FuncFormatter(lambda y, _: in_time(y)))
        axes.grid(color="#dddddd")
        axes.set_axisbelow(True)
        # The legend is below, where it covers no curve, and is entitled with what the plot was made on.
        rounds = max(len(v) for units in lines.values() for v in units.values())
        made_on = f"{about['machine']}; {about['date']}, commit {about['commit']}; medians and ranges of {rounds} runs"
        figure.legend(loc="outside lower center", ncols=2, frameon=False, title=made_on, title_fontsize=8)
        file = Path(folder) / f"{plot.name}.svg"
        figure.savefig(file, metadata={"Date": None})
        plt.close(figure)
        print(f"drawn: {file}")


if __name__ == "__main__":
    if len(sys.argv) != 3:
        raise SystemExit(__doc__)
    main(sys.argv[1], sys.argv[2])

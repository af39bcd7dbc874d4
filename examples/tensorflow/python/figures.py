"""Prints what several runs of `go test -bench` measured: for each benchmark the median, the least and the greatest."""

import re
import statistics
import sys
from collections import defaultdict


def text(ns: float) -> str:
    for unit, size in [("ms", 1e6), ("µs", 1e3)]:
        if ns >= size:
            return f"{ns / size:.3g} {unit}"
    return f"{ns:.0f} ns"


def main(path: str) -> None:
    times: dict[tuple[str, str], list[float]] = defaultdict(list)
    with open(path) as lines:
        for line in lines:
            if match := re.match(r"Benchmark(\S+)/(\S+?)(?:-\d+)?\s+\d+\s+([\d.]+) ns/op", line):
                times[match[1], match[2]].append(float(match[3]))
    for name in dict.fromkeys(name for name, _ in times):
        parts = [
            f"{how.replace('_', ' ')} {text(statistics.median(t))} [{text(min(t))} {text(max(t))}]"
            for (other, how), t in times.items()
            if other == name
        ]
        print(f"{name.replace('_', ' ').replace('/', ', ')}: {', '.join(parts)}")


if __name__ == "__main__":
    main(sys.argv[1])

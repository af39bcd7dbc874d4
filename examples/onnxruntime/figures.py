"""Prints a line for each benchmark in `go test -bench` output on stdin: the median time, the least and the greatest."""

import re
import statistics
import sys


def short(ns: float) -> str:
    for unit, size in (("ms", 1e6), ("µs", 1e3)):
        if ns >= size:
            return f"{ns / size:.3g} {unit}"
    return f"{ns:.3g} ns"


runs: dict[str, list[tuple[float, int]]] = {}
for line in sys.stdin:
    if m := re.match(r"Benchmark(\S+?)(?:-\d+)?\s+\d+\s+([\d.]+) ns/op.*?\s(\d+) allocs/op", line):
        runs.setdefault(m[1], []).append((float(m[2]), int(m[3])))
if not runs:
    sys.exit("no benchmark ran")
for name, results in runs.items():
    times = [ns for ns, _ in results]
    print(f"{name}: {short(statistics.median(times))} [{short(min(times))} {short(max(times))}], "
          f"{statistics.median_low(allocs for _, allocs in results)} allocations")

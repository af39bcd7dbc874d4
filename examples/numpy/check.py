"""Reads for some seconds what writer writes, and fails for a tensor that is not of one number throughout."""

from __future__ import annotations

import statistics
import sys
import time

from read_segment import SegmentReader


def main(name: str, seconds: float) -> None:
    segment = SegmentReader(name)
    copies, version, times = 0, 0, []
    end = time.monotonic() + seconds
    while time.monotonic() < end or (segment.retries == 0 and time.monotonic() < end + 60):
        start = time.perf_counter()
        array, now = segment.read()
        times.append((time.perf_counter() - start) * 1e6)
        if array.shape != (250, 1000) or array.dtype != "int32" or not (array == array[0, 0]).all() or now < version:
            sys.exit(f"version {now} after {version}: {array.shape} {array.dtype}, {array.min()} to {array.max()}")
        copies, version = copies + 1, now
    if segment.retries == 0:
        sys.exit("no commit ever came between: nothing was tested")
    low, middle, high = min(times), statistics.median(times), max(times)
    print(f"{copies} copies of 1 MB, none torn; {segment.retries} attempts that a commit spoiled were made again;")
    print(f"a copy took {middle:.0f} us [{low:.0f} {high:.0f}]")


if __name__ == "__main__":
    main(sys.argv[1], float(sys.argv[2]))

"""What calls take, and frames a second between two processes: a line each, for `figure` of examples/setup.sh.

Medians of five runs, in turn, the least and the greatest in brackets.
"""

from __future__ import annotations

import multiprocessing
import os
import statistics
import time
from collections.abc import Callable
from multiprocessing.connection import Connection
from typing import Any

import numpy as np

import judemap
from judemap import _core

RUNS = 5
SHAPE = (224, 224, 3)  # 588 KiB of float32
FRAMES = {"stream": 3000, "pipe": 300}


def line(what: str, values: list[float], unit: str, digits: int) -> str:
    low, middle, high = (f"{v:.{digits}f}" for v in (min(values), statistics.median(values), max(values)))
    return f"{what:58} {middle} {unit} [{low} {high}]"


def calls() -> None:
    with judemap.new(1 << 20) as s, judemap.new_stream(4, 1 << 20) as stream, stream.reader() as reader:
        s.write(np.zeros(SHAPE, np.float32))
        small = np.zeros(6, np.float32)
        into = np.empty(SHAPE, np.float32)

        def frame() -> None:
            stream.write(small)
            _ = reader.next().array

        def view() -> None:
            t = s.read()
            _ = t.array
            t.valid()

        measured: dict[str, tuple[Callable[[], Any], list[float]]] = {
            "an empty ctypes call": (lambda: _core.is_pinned(s._handle), []),
            "read, its array, and valid, of 588 KiB: a view": (view, []),
            "read_copy of 588 KiB into an array": (lambda: s.read_copy(out=into), []),
            "np.copyto of 588 KiB": (lambda: np.copyto(into, s.read().array), []),
            "a frame of 24 bytes, written and taken in one thread": (frame, []),
        }
        for _ in range(RUNS):
            for call, times in measured.values():
                count = 3000
                start = time.perf_counter()
                for _ in range(count):
                    call()
                times.append((time.perf_counter() - start) / count * 1e6)
        for what, (_, times) in measured.items():
            print(line(what, times, "us", 2))


def sums_stream(name: str, says: Connection) -> None:
    with judemap.open_stream(name) as stream, stream.reader() as reader:
        says.send(None)
        total = 0.0
        for _ in range(FRAMES["stream"]):
            total += float(reader.next(timeout=60).array.sum())
        says.send(total)


def sums_pipe(frames: Connection, says: Connection) -> None:
    says.send(None)
    says.send(sum(float(frames.recv().sum()) for _ in range(FRAMES["pipe"])))


def frames_per_second(
    count: int, start: Callable[[Connection], multiprocessing.Process], send: Callable[[float], None]
) -> float:
    here, there = multiprocessing.Pipe(False)
    process = start(there)
    here.recv()
    begun = time.perf_counter()
    for i in range(count):
        send(float(i))
    total = here.recv()
    seconds = time.perf_counter() - begun
    process.join()
    expected = sum(range(count)) * float(np.prod(SHAPE))
    assert abs(total - expected) < 1e-4 * expected, (total, expected)
    return count / seconds


def processes() -> None:
    context = multiprocessing.get_context("fork")
    by_stream, by_pipe = [], []
    name = f"judemap-speed-{os.getpid()}"
    for _ in range(RUNS):
        with judemap.create_stream(name, 4, 1 << 20, every_frame=True) as stream:
            try:

                def start(says: Connection) -> Any:
                    process = context.Process(target=sums_stream, args=(name, says))
                    process.start()
                    return process

                def send(value: float, stream: judemap.Stream = stream) -> None:
                    with stream.update(SHAPE, np.float32, timeout=60) as array:
                        array[...] = value

                by_stream.append(frames_per_second(FRAMES["stream"], start, send))
            finally:
                judemap.remove(name)

        out, into = multiprocessing.Pipe(False)

        def start_pipe(says: Connection, out: Connection = out) -> Any:
            process = context.Process(target=sums_pipe, args=(out, says))
            process.start()
            return process

        def send_pipe(value: float, into: Connection = into) -> None:
            into.send(np.full(SHAPE, value, np.float32))

        by_pipe.append(frames_per_second(FRAMES["pipe"], start_pipe, send_pipe))
        out.close()
        into.close()
    print(line("588 KiB from process to process, filled and summed: a stream", by_stream, "frames/s", 0))
    print(line("the same through multiprocessing.Pipe", by_pipe, "frames/s", 0))


if __name__ == "__main__":
    calls()
    processes()

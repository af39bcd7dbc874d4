"""What Python's multiprocessing.shared_memory does where the benchmarks of the Go package do the same, and judemap's
Python package beside it: lines of a Go benchmark, for BenchmarkFrames and BenchmarkRoundTrip.

    peers.py Frames|RoundTrip...

A payload is filled in place by NumPy in one process, and summed in another. SharedMemory has no means to wait: its
documentation leaves that to multiprocessing's, and two semaphores are what a ring of slots takes, one that counts the
free slots and one that counts the full ones. All who have nothing to do are parked (wait=blocking).
"""

from __future__ import annotations

import contextlib
import multiprocessing
import os
import sys
import time
from collections.abc import Callable, Iterator
from multiprocessing.shared_memory import SharedMemory
from multiprocessing.synchronize import Semaphore
from typing import Any

import numpy as np
import numpy.typing as npt

import judemap

SLOTS = 4
TIMEOUT = 60.0  # seconds, for whoever waits
# Bytes: how many frames, and how many round trips.
SIZES = {64: (20_000, 5_000), 602_112: (2_000, 1_000), 8 << 20: (200, 100)}

Send = Callable[[int], None]  # fills payload `number`, and lets the other side have it
Receive = Callable[[int], None]  # waits for payload `number`, and sums it
context = multiprocessing.get_context("spawn")


def check(data: npt.NDArray[np.uint8], number: int) -> None:
    """Sums a payload, all bytes of which are the low byte of its number."""
    words = data.view(np.uint64)
    if int(words.sum()) != (number & 0xFF) * 0x0101010101010101 * words.size % (1 << 64):
        raise SystemExit(f"payload {number} is not what was sent")


# ---- judemap ----


def stream_end(name: str, size: int, sends: bool, stack: contextlib.ExitStack) -> Send | Receive:
    stream = stack.enter_context(judemap.open_stream(name))

    def send(number: int) -> None:
        with stream.update(size, np.uint8, timeout=TIMEOUT) as data:
            data.fill(number & 0xFF)

    if sends:
        return send
    reader = stack.enter_context(stream.reader())
    return lambda number: check(reader.next(timeout=TIMEOUT).array, number)


def segment_ends(out_name: str, in_name: str, size: int, stack: contextlib.ExitStack) -> tuple[Send, Receive]:
    out, into = (stack.enter_context(judemap.open(name)) for name in (out_name, in_name))

    def send(number: int) -> None:
        with out.update(size, np.uint8) as data:
            data.fill(number & 0xFF)

    def receive(number: int) -> None:
        view = into.next(after=2 * number, timeout=TIMEOUT)
        check(view.array, number)
        if not view.valid():
            raise SystemExit(f"the view of payload {number} did not last")

    return send, receive


# ---- multiprocessing.shared_memory ----


class Ring:
    """Slots in one SharedMemory, one way: what two processes are given of it. Those that are full come one after the
    other, so that each side knows where it is."""

    def __init__(self, memory: SharedMemory, size: int, slots: int) -> None:
        self.name, self.size, self.slots = memory.name, size, slots
        self.free: Semaphore = context.Semaphore(slots)
        self.full: Semaphore = context.Semaphore(0)

    def _slots(self, stack: contextlib.ExitStack) -> list[npt.NDArray[np.uint8]]:
        memory = SharedMemory(self.name)
        size = self.size
        slots = [np.ndarray((size,), np.uint8, memory.buf, i * size) for i in range(self.slots)]
        stack.callback(memory.close)
        stack.callback(slots.clear)  # first: memory with arrays of it can't be closed
        return slots

    def sender(self, stack: contextlib.ExitStack) -> Send:
        slots = self._slots(stack)

        def send(number: int) -> None:
            if not self.free.acquire(timeout=TIMEOUT):
                raise SystemExit("no slot came free")
            slots[number % len(slots)].fill(number & 0xFF)
            self.full.release()

        return send

    def receiver(self, stack: contextlib.ExitStack) -> Receive:
        slots = self._slots(stack)

        def receive(number: int) -> None:
            if not self.full.acquire(timeout=TIMEOUT):
                raise SystemExit("no payload came")
            check(slots[number % len(slots)], number)
            self.free.release()

        return receive


# ---- The other process ----


def sums(by: str, what: Any, size: int, count: int, says: Semaphore) -> None:
    """Takes all frames."""
    with contextlib.ExitStack() as stack:
        receive = stream_end(what, size, False, stack) if by == "judemap" else what.receiver(stack)
        says.release()
        for number in range(count):
            receive(number)
        says.release()


def answers(by: str, there: Any, back: Any, size: int, count: int, says: Semaphore) -> None:
    """Answers all trips."""
    with contextlib.ExitStack() as stack:
        if by == "judemap":
            send, receive = segment_ends(back, there, size, stack)
        else:
            send, receive = back.sender(stack), there.receiver(stack)
        says.release()
        for number in range(count):
            receive(number)
            send(number)
        says.release()


@contextlib.contextmanager
def other(target: Callable[..., None], *args: Any) -> Iterator[Callable[[], None]]:
    """Starts the other process, which ends with the block, and gives a function that waits for it to do its part."""
    says = context.Semaphore(0)
    process = context.Process(target=target, args=(*args, says), daemon=True)
    process.start()

    def wait() -> None:
        if not says.acquire(timeout=TIMEOUT):
            raise SystemExit(f"the other process did not do its part, exit code {process.exitcode}")

    try:
        wait()
        yield wait
        process.join(TIMEOUT)
    finally:
        process.kill()


@contextlib.contextmanager
def shared(size: int) -> Iterator[SharedMemory]:
    memory = SharedMemory(create=True, size=size)
    try:
        yield memory
    finally:
        memory.close()
        memory.unlink()


# ---- What is measured ----


def frames(by: str, size: int, count: int) -> None:
    warm_up = count // 10
    with contextlib.ExitStack() as stack:
        if by == "judemap":
            what: Any = f"judemap-bench-{os.getpid()}"
            stack.callback(judemap.remove, what)
            stack.enter_context(judemap.create_stream(what, SLOTS, size, every_frame=True))
            send = stream_end(what, size, True, stack)
        else:
            what = Ring(stack.enter_context(shared(SLOTS * size)), size, SLOTS)
            send = what.sender(stack)
        with other(sums, by, what, size, count) as done:
            for number in range(count):
                if number == warm_up:
                    begun = time.perf_counter_ns()
                send(number)
            done()
            each = (time.perf_counter_ns() - begun) / (count - warm_up)
    line("Frames", by, size, count - warm_up, f"{each:.1f} ns/op {1e9 / each:.0f} frames/s")


def trips(by: str, size: int, count: int) -> None:
    each = []
    with contextlib.ExitStack() as stack:
        there: Any
        back: Any
        if by == "judemap":
            there, back = (f"judemap-bench-{os.getpid()}-{way}" for way in ("there", "back"))
            for name in (there, back):
                stack.callback(judemap.remove, name)
                stack.enter_context(judemap.create(name, size))
            send, receive = segment_ends(there, back, size, stack)
        else:
            there, back = (Ring(stack.enter_context(shared(size)), size, 1) for _ in range(2))
            send, receive = there.sender(stack), back.receiver(stack)
        with other(answers, by, there, back, size, count) as done:
            for number in range(count):
                begun = time.perf_counter_ns()
                send(number)
                receive(number)
                each.append(time.perf_counter_ns() - begun)
            done()
    each = sorted(each[count // 10 :])
    mean, p50, p99 = sum(each) / len(each), each[len(each) // 2], each[len(each) * 99 // 100]
    line("RoundTrip", by, size, len(each), f"{mean:.1f} ns/op {p50} p50-ns {p99} p99-ns")


def line(benchmark: str, by: str, size: int, count: int, metrics: str) -> None:
    who = {"judemap": "Python", "shared_memory": "shared_memory"}[by]
    print(f"Benchmark{benchmark}/size={size}/wait=blocking/by={who} {count} {metrics}", flush=True)


if __name__ == "__main__":
    for size, (frame_count, trip_count) in SIZES.items():
        for by in ("judemap", "shared_memory"):
            if "Frames" in sys.argv:
                frames(by, size, frame_count)
            if "RoundTrip" in sys.argv:
                trips(by, size, trip_count)

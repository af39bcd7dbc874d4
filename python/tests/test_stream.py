"""Streams within a process."""

from __future__ import annotations

import gc
import math
import threading
import time
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from test_segment import sample

import judemap
from judemap import DType


@pytest.mark.parametrize("dtype", DType, ids=str)
@pytest.mark.parametrize("shape", [(2, 3), (), (0,), (1,) * 8], ids=str)
def test_what_is_written_is_read(dtype: DType, shape: tuple[int, ...]) -> None:
    with judemap.new_stream(4, 1024) as s, s.reader() as reader:
        array = sample(dtype, shape)
        s.write(array)
        with s.update(shape, dtype) as place:
            assert place.dtype == dtype.numpy and place.shape == shape
            place[...] = array
        frame = reader.next()
        assert (frame.shape, frame.dtype, frame.version, frame.nbytes) == (shape, dtype, 4, array.nbytes)
        assert frame.array.tobytes() == array.tobytes() == frame.bits.tobytes()
        assert frame.address % 256 == 0
        assert s.read_copy().array.tobytes() == array.tobytes()
        assert reader.missed == 1 and frame.held
        s.fill(shape, dtype, 1)
        assert (reader.next().array.astype(np.complex64) == 1).all()
        assert not frame.held


def values(frames: list[judemap.Frame]) -> list[int]:
    return [int(f.array) for f in frames]


@pytest.mark.parametrize("every_frame", [False, True])
def test_a_frame_is_held(every_frame: bool) -> None:
    with judemap.new_stream(5, 8, every_frame=every_frame) as s:
        assert s.every_frame == every_frame and s.slots == 5
        reader = s.reader()
        s.write(1)
        first = reader.next().keep()
        view = first.array
        for i in range(2, 5):
            s.write(i)
        second = reader.next()
        assert values([first, second]) == ([1, 2] if every_frame else [1, 4])
        assert s.readers()[0].held == 2
        third = reader.next(timeout=1) if every_frame else None
        if third is not None:
            assert values([first, third]) == [1, 3] and not second.held and first.held
        first.release()
        first.release()
        assert not first.held and s.readers()[0].held == 1
        for i in range(5, 7 if every_frame else 20):
            s.write(i, timeout=1)
        assert every_frame or view != 1  # its slot was written to again
        reader.close()
        reader.close()
        assert s.readers() == []
        with pytest.raises(judemap.Closed, match="the reader is closed"):
            reader.next()


def test_a_kept_frame_is_given_back_when_nothing_refers_to_it() -> None:
    with judemap.new_stream(8, 8) as s, s.reader() as reader:
        held = []
        for i in range(3):
            s.write(i)
            held.append(reader.next().keep().array)
        imported = np.from_dlpack(reader_frame := _after(s, reader, 3).keep())
        del reader_frame
        _after(s, reader, 4)
        assert s.readers()[0].held == 5
        assert [int(a) for a in held] == [0, 1, 2] and imported == 3
        held.clear()
        assert s.readers()[0].held == 2
        del imported
        gc.collect()
        assert s.readers()[0].held == 1


def _after(s: judemap.Stream, reader: judemap.Reader, value: int) -> judemap.Frame:
    s.write(value)
    return reader.next()


def test_iteration_misses_frames_or_none() -> None:
    for every_frame in (False, True):
        with judemap.new_stream(4, 8, every_frame=every_frame) as s:
            seen: list[int] = []
            reader = s.reader()

            def reads(reader: judemap.Reader = reader, seen: list[int] = seen) -> None:
                for frame in reader:
                    value = int(frame.array)
                    time.sleep(0.001)
                    assert frame.array == value
                    seen.append(value)
                    if value == 99:
                        break

            thread = threading.Thread(target=reads)
            thread.start()
            for i in range(100):
                s.write(i, timeout=10)
            thread.join(10)
            assert not thread.is_alive()
            assert len(seen) + reader.missed == 100 and seen == sorted(set(seen)) and seen[-1] == 99
            assert not every_frame or reader.missed == 0


def test_iteration_ends_when_the_reader_or_the_stream_is_closed() -> None:
    for what in ("reader", "stream"):
        s = judemap.new_stream(4, 8)
        reader = s.reader()
        ended = threading.Event()

        def reads(reader: judemap.Reader = reader, ended: threading.Event = ended) -> None:
            for _ in reader:
                pass
            ended.set()

        thread = threading.Thread(target=reads)
        thread.start()
        s.write(1)
        time.sleep(0.05)
        (reader if what == "reader" else s).close()
        assert ended.wait(10)
        thread.join()
        s.close()


def test_a_writer_without_a_slot_says_who_holds_them() -> None:
    with judemap.new_stream(2, 8) as s, s.reader() as reader:
        s.write(1)
        frame = reader.next().keep()
        s.write(2)
        text = r"no slot of 2 became free in 0.01 s: reader 0 of process \d+ holds 1 and wants frame 2"
        for call in (
            lambda: s.write(3, timeout=0.01),
            lambda: s.fill((), "int8", 3, timeout=0.01),
            lambda: s.update((), "int8", timeout=0.01).__enter__(),
        ):
            with pytest.raises(TimeoutError, match=text):
                call()
        threading.Timer(0.15, frame.release).start()
        s.write(3, timeout=10)
        assert reader.next().array == 3


def test_close_ends_a_writer_that_waits() -> None:
    s = judemap.new_stream(2, 8)
    reader = s.reader()
    s.write(1)
    frame = reader.next().keep()
    s.write(2)
    ended = threading.Event()

    def writes() -> None:
        with pytest.raises(judemap.Closed):
            s.write(3)
        ended.set()

    thread = threading.Thread(target=writes)
    thread.start()
    time.sleep(0.05)
    s.close()
    assert ended.wait(10)
    thread.join()
    assert not frame.held


def test_an_update_that_raises_is_as_if_not_begun() -> None:
    with judemap.new_stream(4, 8) as s, s.reader() as reader:
        s.write(1)
        with pytest.raises(ZeroDivisionError), s.update((), "int64") as array:
            array[...] = 1 // 0
        assert reader.next().array == 1 and s.version == 2
        with s.update((), "int64") as array:
            array[...] = 2
            for call in (s.close, lambda: s.write(1), lambda: s.update((), "int8").__enter__()):
                with pytest.raises(judemap.Busy, match="this thread is in an update of it"):
                    call()
            assert s.read_copy().array == 1  # readers don't wait
        assert reader.next().array == 2
        with pytest.raises(ValueError, match="read-only"):
            array[...] = 3


BAD: list[tuple[Callable[[judemap.Stream], Any], type[Exception], str]] = [
    (lambda s: s.write(np.zeros(2)), judemap.CapacityError, "16 bytes, .*room for 8"),
    (lambda s: s.fill(2, "uint8", 300), judemap.RangeError, "uint8 can't hold 300"),
    (lambda s: s.fill(2, "uint8", math.inf), judemap.RangeError, "uint8 can't hold inf"),
    (lambda s: s.write("a"), judemap.DTypeError, "str"),
    (lambda s: s.reader().next(timeout=0.01), TimeoutError, "no frame in 0.01 s"),
    (lambda s: s.reader().next(timeout=0), TimeoutError, "no frame in 0 s"),
    (lambda s: s.read_copy(after=2, timeout=0.01), TimeoutError, "no frame after version 2 in 0.01 s"),
    (lambda s: s.read_copy(out=np.zeros(1, np.uint8)), ValueError, "8 bytes, and out is 1"),
    (lambda s: [s.reader() for _ in range(65)], judemap.CapacityError, "64 readers"),
]


@pytest.mark.parametrize(("call", "error", "text"), BAD)
def test_bad_input(call: Callable[[judemap.Stream], Any], error: type[Exception], text: str) -> None:
    with judemap.new_stream(3, 8) as s:
        s.write(1)
        with pytest.raises(error, match=text):
            call(s)
        assert s.read_copy().array == 1


@pytest.mark.parametrize("slots", [-1, 0, 1, 257, 1 << 40])
def test_bad_slots(slots: int, name: str) -> None:
    for make in (judemap.new_stream, lambda n, c: judemap.create_stream(name, n, c)):
        with pytest.raises(judemap.CapacityError, match=f"2 to 256 slots, and not {slots}"):
            make(slots, 8)


def test_empty_and_closed() -> None:
    s = judemap.new_stream(3, 8)
    with pytest.raises(judemap.Empty):
        s.read_copy()
    reader = s.reader()
    s.write(7)
    frame = reader.next()
    view = frame.array
    s.close()
    assert view == 0 and not frame.held and s.version == 0 and "closed" in repr(s) + repr(reader)
    for call in (
        s.reader,
        reader.next,
        s.read_copy,
        lambda: s.write(1),
        lambda: s.fill((), "int8", 1),
        lambda: s.update((), "int8").__enter__(),
    ):
        with pytest.raises(judemap.Closed):
            call()
    frame.release()
    reader.close()


def test_an_array_outlives_all_else() -> None:
    s = judemap.new_stream(3, 1 << 20)
    reader = s.reader()
    s.write(np.arange(1000.0))
    view = reader.next().array
    del reader
    gc.collect()
    assert view.sum() == 499500
    s.close()
    del s
    gc.collect()
    assert view.sum() == 0


def test_readers_and_a_writer_of_several_threads() -> None:
    """Frames are whole for as long as they are held, also by other threads than took them."""
    with judemap.new_stream(12, 80000) as s:
        stop = threading.Event()
        failures: list[str] = []
        seen = [0] * 3

        def check(frame: judemap.Frame) -> None:
            array = frame.array
            first = array[0]
            if not (array == first).all() or not frame.held or int(first) != frame.version // 2:
                failures.append(f"frame {frame.version // 2} has {first}")

        def works(frame: judemap.Frame) -> None:
            check(frame)
            frame.release()

        def reads(number: int) -> None:
            kept: list[judemap.Frame] = []
            with s.reader() as reader:
                while not stop.is_set():
                    try:
                        frame = reader.next(timeout=1)
                    except TimeoutError:
                        continue
                    check(frame)
                    seen[number] += 1
                    kept.append(frame.keep())
                    if len(kept) == 3:
                        oldest = kept.pop(0)
                        thread = threading.Thread(target=works, args=(oldest,))
                        thread.start()
                        thread.join()

        threads = [threading.Thread(target=reads, args=(n,)) for n in range(3)]
        for thread in threads:
            thread.start()
        end = time.monotonic() + 1
        i = 0
        while time.monotonic() < end:
            i += 1
            with s.update(10000, "int64", timeout=10) as array:
                array[:] = i
        stop.set()
        for thread in threads:
            thread.join()
        assert failures == [] and min(seen) > 10
        assert s.readers() == []

"""Segments within a process."""

from __future__ import annotations

import contextlib
import gc
import math
import os
import pickle
import threading
import time
from collections.abc import Callable
from typing import Any

import ml_dtypes  # type: ignore[import-untyped,unused-ignore]
import numpy as np
import numpy.typing as npt
import pytest

import judemap
from judemap import DType

Array = npt.NDArray[Any]
NUMPY_2 = int(np.__version__.split(".")[0]) >= 2


def sample(dtype: DType, shape: tuple[int, ...] = (2, 3)) -> Array:
    """Elements that differ, and don't mean the same in another order of bytes."""
    count = math.prod(shape)
    if dtype == DType.BOOL:
        return np.asarray(np.arange(count) % 3 == 0).reshape(shape)
    if dtype == DType.COMPLEX64:
        return (np.arange(count) + 0.5j).astype(np.complex64).reshape(shape)
    return np.asarray(np.arange(1, count + 1), np.float64).astype(dtype.numpy).reshape(shape)


@pytest.mark.parametrize("dtype", DType, ids=str)
@pytest.mark.parametrize("shape", [(2, 3), (), (0,), (3, 0, 2), (1,) * 8], ids=str)
def test_what_is_written_is_read(dtype: DType, shape: tuple[int, ...]) -> None:
    with judemap.new(1024) as s:
        array = sample(dtype, shape)
        s.write(array)
        for t in (s.read(), s.try_read(), s.next(), s.read_copy()):
            assert (t.shape, t.dtype, t.version, t.nbytes) == (shape, dtype, 2, array.nbytes)
            assert t.array.dtype == dtype.numpy and t.array.shape == shape
            assert t.array.tobytes() == array.tobytes() == t.bits.tobytes()
            assert t.valid()
        with s.update(shape, dtype) as place:
            assert place.dtype == dtype.numpy and place.shape == shape
            place[...] = array
        assert s.read().array.tobytes() == array.tobytes()
        s.fill(shape, dtype, 1)
        assert (s.read().array.astype(np.complex64) == 1).all()
        s.write(array.view(dtype.bits), bits=str(dtype)) if dtype.bits.kind == "u" else s.write(array)
        assert s.read().dtype == dtype and s.read().array.tobytes() == array.tobytes()


def test_names_of_types() -> None:
    for dtype in DType:
        for like in (dtype, str(dtype), dtype.numpy, dtype.numpy.newbyteorder(">")):
            assert DType.of(like) is dtype
        assert dtype.numpy.itemsize == dtype.itemsize
    assert DType.of(float) == DType.FLOAT64 and DType.of(np.longlong) == DType.INT64
    assert DType.of(ml_dtypes.bfloat16) == DType.BFLOAT16
    for unknown in (
        "float12",
        "complex128",
        np.complex128,
        object,
        "S4",
        "datetime64[s]",
        ml_dtypes.float8_e4m3b11fnuz,
    ):
        with pytest.raises(judemap.DTypeError, match="there is no element type"):
            DType.of(unknown)


@pytest.mark.parametrize(
    "array",
    [
        np.arange(24, dtype=np.float32).reshape(4, 6)[:, ::2],
        np.arange(24, dtype=np.float32).reshape(4, 6).T,
        np.arange(6, dtype=">f4").reshape(2, 3),
        np.arange(6, dtype=">i8")[::-1],
        np.frombuffer(b"\0" * 3 + np.arange(4, dtype=np.int32).tobytes(), dtype=np.int32, offset=3),
        np.broadcast_to(np.float16(3), (4, 4)),
        [[1, 2], [3, 4]],
        True,
        1.5,
    ],
    ids=["strided", "transposed", "big-endian", "reversed", "misaligned", "broadcast", "list", "bool", "float"],
)
def test_arrays_of_any_make(array: npt.ArrayLike) -> None:
    with judemap.new(1024) as s:
        s.write(array)
        np.testing.assert_array_equal(s.read().array, np.asarray(array))
        assert s.read().array.flags.c_contiguous and s.read().array.dtype.isnative


def test_a_view_is_the_segments_memory() -> None:
    with judemap.new(1024) as s:
        s.write(np.zeros(4, np.int32))
        t = s.read()
        view = t.array
        assert view.ctypes.data == t.address and t.address % 256 == 0
        assert not view.flags.writeable
        with pytest.raises(ValueError, match="read-only"):
            view[0] = 1
        with pytest.raises(ValueError, match="WRITEABLE"):
            view.flags.writeable = True
        copy = s.read_copy()
        s.write(np.full(4, 7, np.int32))
        assert view.tolist() == [7] * 4 and not t.valid()
        assert copy.array.tolist() == [0] * 4 and copy.valid()
        copy.array[0] = 1  # the caller's
        assert view.data.nbytes == 16


def test_numpy_takes_a_tensor() -> None:
    with judemap.new(1024) as s:
        s.write(np.arange(4, dtype=np.int32))
        t = s.read()
        assert np.asarray(t).ctypes.data == t.address
        assert np.array(t).ctypes.data != t.address
        assert np.asarray(t, dtype=np.float64).tolist() == [0, 1, 2, 3]
        assert (np.add(t, 1) == [1, 2, 3, 4]).all()


@pytest.mark.parametrize("dtype", DType, ids=str)
def test_dlpack(dtype: DType) -> None:
    with judemap.new(1024) as s:
        s.write(sample(dtype))
        t = s.read()
        assert t.__dlpack_device__() == (1, 0)
        if dtype.bits == dtype.numpy and dtype != DType.BOOL:
            imported = np.from_dlpack(t)
            assert imported.ctypes.data == t.address and not imported.flags.writeable
            np.testing.assert_array_equal(imported, t.array)
        elif dtype == DType.BOOL and NUMPY_2:
            assert np.from_dlpack(t).dtype == bool
        else:
            with pytest.raises((BufferError, RuntimeError), match=r"[Uu]nsupported"):
                np.from_dlpack(t)
        for bad in ({"dl_device": (2, 0)}, {"stream": 1}):
            with pytest.raises(BufferError):
                t.__dlpack__(**bad)


class OldForm:
    """DLPack as a consumer before 1.0 asks for it."""

    def __init__(self, tensor: judemap.Tensor) -> None:
        self.tensor = tensor

    def __dlpack_device__(self) -> tuple[int, int]:
        return self.tensor.__dlpack_device__()

    def __dlpack__(self, **_: object) -> Any:
        return self.tensor.__dlpack__()


def test_dlpack_of_the_old_form_and_copies() -> None:
    with judemap.new(1024) as s:
        s.write(np.arange(3.0))
        t = s.read()
        assert np.from_dlpack(OldForm(t)).ctypes.data == t.address
        capsule = t.__dlpack__(copy=True)
        assert "dltensor" in repr(capsule)


def test_an_update_that_raises_leaves_the_segment_empty() -> None:
    with judemap.new(1024) as s:
        s.write(1.0)
        with pytest.raises(ZeroDivisionError), s.update(3, np.uint8) as array:
            array[:] = 1 // 0
        with pytest.raises(judemap.Empty, match="holds no tensor"):
            s.read()
        with pytest.raises(judemap.Empty):
            s.read_copy()
        s.write(2.0)
        assert s.read().array == 2 and s.stats == (3, 0)


def test_an_array_of_an_update_is_read_only_after_it() -> None:
    with judemap.new(1024) as s:
        with s.update((2, 2), "bfloat16") as array:
            array[:] = 1
        with pytest.raises(ValueError, match="read-only"):
            array[:] = 2
        update = s.update(3, np.uint8)
        with update:
            pass
        with pytest.raises(judemap.Busy), update:
            pass


def test_readers_wait_for_an_update_of_another_thread() -> None:
    with judemap.new(1024) as s:
        begun, go_on = threading.Event(), threading.Event()

        def updates(fails: bool) -> None:
            with contextlib.suppress(ZeroDivisionError), s.update((), np.int64) as array:
                begun.set()
                go_on.wait()
                array[...] = 7 // (0 if fails else 1)

        for fails in (False, True):
            begun.clear()
            go_on.clear()
            thread = threading.Thread(target=updates, args=(fails,))
            thread.start()
            assert begun.wait(10)
            for timeout in (0, 0.02, 0.15):
                with pytest.raises(TimeoutError):
                    s.read_copy(timeout=timeout)
                with pytest.raises(TimeoutError):
                    s.next(timeout=timeout)
            threading.Timer(0.2, go_on.set).start()
            if fails:
                with pytest.raises(judemap.Empty):
                    s.read()
            else:
                assert s.read().array == 7
            thread.join()


def test_who_would_wait_for_its_own_update_is_told() -> None:
    with judemap.new(1024) as s, s.update(3, np.uint8):
        for call in (
            s.read,
            s.next,
            s.read_copy,
            s.close,
            lambda: s.write(1),
            lambda: s.fill(1, "int8", 1),
            lambda: s.update(1, "int8").__enter__(),
        ):
            with pytest.raises(judemap.Busy, match="this thread is in an update of it"):
                call()
        with pytest.raises(judemap.Busy, match="a commit is in progress"):
            s.try_read()


BAD: list[tuple[Callable[[judemap.Segment], Any], type[Exception], str]] = [
    (lambda s: s.write(np.zeros(300)), judemap.CapacityError, r"\[300\] of float64 has 2400 bytes, .*room for 1024"),
    (lambda s: s.write(np.zeros((1,) * 9)), judemap.ShapeError, "9 dimensions; a tensor has 8"),
    (lambda s: s.fill((1 << 40, 1 << 40), "int8", 0), judemap.ShapeError, "overflows"),
    (lambda s: s.fill((-1, 2), "int8", 0), judemap.ShapeError, r"\[-1, 2\] has a negative"),
    (lambda s: s.fill(2, "uint8", 300), judemap.RangeError, "uint8 can't hold 300"),
    (lambda s: s.fill(2, "int32", math.nan), judemap.RangeError, "int32 can't hold nan"),
    (lambda s: s.write(["a"]), judemap.DTypeError, "str"),
    (lambda s: s.write(np.zeros(2, complex)), judemap.DTypeError, "complex128"),
    (
        lambda s: s.write(np.zeros(2, np.uint32), bits="bfloat16"),
        judemap.DTypeError,
        "2 bytes, and the array is uint32",
    ),
    (lambda s: s.update(2.5, "int8"), TypeError, "float"),  # type: ignore[arg-type]
    (lambda s: s.read_copy(out=np.zeros(1, np.uint8)), ValueError, "24 bytes, and out is 1"),
    (lambda s: s.read_copy(out=np.zeros((4, 4))[:, ::2]), ValueError, "C-contiguous"),
    (lambda s: s.next(after=2, timeout=0.01), TimeoutError, "no tensor after version 2 in 0.01 s"),
    (lambda s: s.next(after=2, timeout=0), TimeoutError, "no tensor after version 2"),
    (lambda s: s.read_copy(after=2, timeout=0.01), TimeoutError, "no tensor after version 2"),
    (pickle.dumps, TypeError, "open it by its name"),
]


@pytest.mark.parametrize(("call", "error", "text"), BAD)
def test_bad_input(call: Callable[[judemap.Segment], Any], error: type[Exception], text: str) -> None:
    with judemap.new(1024) as s:
        s.write(np.arange(3.0))
        with pytest.raises(error, match=text):
            call(s)
        assert s.read().array.tolist() == [0, 1, 2] and s.version == 2


@pytest.mark.parametrize("capacity", [0, -1, 1 << 63, 1 << 70])
def test_bad_capacity(capacity: int, name: str) -> None:
    for make in (judemap.new, lambda n: judemap.create(name, n), lambda n: judemap.new_stream(2, n)):
        with pytest.raises(judemap.CapacityError, match=f"{capacity} bytes"):
            make(capacity)


def test_out_is_filled() -> None:
    with judemap.new(1024) as s:
        s.write(np.arange(6.0).reshape(2, 3))
        out = np.zeros(100, np.uint8)
        t = s.read_copy(out=out)
        assert np.shares_memory(t.array, out) and t.array.tolist() == [[0, 1, 2], [3, 4, 5]]


def test_closed() -> None:
    s = judemap.new(1024)
    s.write(np.arange(3.0))
    t = s.read()
    view = t.array
    s.close()
    s.close()
    assert s.closed and not t.valid() and "closed" in repr(s) and s.version == 0
    assert view.tolist() == [0, 0, 0]
    for call in (
        s.read,
        s.try_read,
        s.next,
        s.read_copy,
        s.pin,
        lambda: s.write(1),
        lambda: s.fill(1, "int8", 1),
        lambda: s.update(1, "int8").__enter__(),
    ):
        with pytest.raises(judemap.Closed, match="closed"):
            call()
    s.unpin()
    assert not s.pinned


def test_an_array_outlives_all_else() -> None:
    s = judemap.new(1 << 20)
    s.write(np.arange(1000.0))
    view = s.read().array
    imported = np.from_dlpack(s.read())
    del s
    gc.collect()
    assert view.sum() == imported.sum() == 499500
    s = judemap.new(1 << 20)
    s.write(np.arange(1000.0))
    view = s.read().array
    s.close()
    del s
    gc.collect()
    assert view.sum() == 0


def test_a_cycle_is_collected_whatever_its_order() -> None:
    """A finalizer in the same garbage may use the segment: its memory goes last."""
    seen = []

    class User:
        def __init__(self) -> None:
            self.segment = judemap.new(1024)
            self.segment.write(np.arange(3.0))
            self.stream = judemap.new_stream(3, 1024)
            self.reader = self.stream.reader()
            self.stream.write(np.arange(4.0))
            self.frame = self.reader.next().keep()
            self.myself = self

        def __del__(self) -> None:
            seen.append((self.segment.read().array.sum(), self.frame.array.sum()))
            with pytest.raises((judemap.Error, TimeoutError)):
                self.reader.next(timeout=0)

    for _ in range(50):
        User()
    gc.collect()
    assert seen == [(3, 6)] * 50


def test_many_forgotten_segments_leave_nothing() -> None:
    def mappings() -> int:
        with open("/proc/self/maps") as lines:
            return sum(1 for _ in lines)

    before = mappings()
    for _ in range(2000):
        judemap.new(4096).write(1)
    gc.collect()
    assert mappings() < before + 100


def test_next_and_frames() -> None:
    with judemap.new(1024) as s:

        def writes() -> None:
            for i in range(5):
                time.sleep(0.02)
                s.write(i)

        thread = threading.Thread(target=writes)
        thread.start()
        seen = [int(t.array) for _, t in zip(range(5), s.frames(timeout=10), strict=False)]
        thread.join()
        assert seen == sorted(set(seen)) and seen[-1] <= 4
        assert s.next().array == 4
        assert s.read_copy(after=2).array == 4


def test_close_ends_who_waits() -> None:
    s = judemap.new(1024)
    ended: list[type[BaseException]] = []

    def waits(call: Callable[[], Any]) -> None:
        try:
            call()
        except judemap.Error as error:
            ended.append(type(error))

    threads = [
        threading.Thread(target=waits, args=(call,))
        for call in (s.next, lambda: s.read_copy(after=0), lambda: next(s.frames()))
    ]
    for thread in threads:
        thread.start()
    time.sleep(0.05)
    s.close()
    for thread in threads:
        thread.join(10)
        assert not thread.is_alive()
    assert ended == [judemap.Closed] * 3


def test_copies_beside_a_writer_without_pauses() -> None:
    """A writer in another thread of the same Segment, and readers of copies and views: nothing torn."""
    with judemap.new(1 << 20) as s:
        stop = threading.Event()
        s.fill(50000, "int32", 0)
        failures: list[str] = []
        copies = [0]

        def writes() -> None:
            i = 0
            while not stop.is_set():
                i += 1
                s.fill(50000, "int32", i)

        def reads() -> None:
            last = -1
            while not stop.is_set():
                try:
                    t = s.read_copy(timeout=20)
                    values = t.array
                except Exception as error:
                    failures.append(repr(error))
                    return
                if not (values == values[0]).all() or values[0] < last:
                    failures.append(f"torn or back: {values[0]} after {last}")
                last = values[0]
                copies[0] += 1
                v = s.read()
                whole = (v.array == v.array[0]).all()
                if v.valid() and not whole:
                    failures.append("a torn view was valid")

        threads = [threading.Thread(target=f) for f in (writes, reads, reads)]
        for thread in threads:
            thread.start()
        time.sleep(1)
        stop.set()
        for thread in threads:
            thread.join()
        assert failures == [] and copies[0] > 10


def test_writers_of_several_threads() -> None:
    with judemap.new(1024) as s:

        def writes() -> None:
            for i in range(500):
                if i % 2:
                    s.write(np.full(20, i))
                else:
                    with s.update(20, np.int64) as array:
                        array[:] = i

        threads = [threading.Thread(target=writes) for _ in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert s.stats.commits == 2000 and s.version == 4000 and (s.read().array == 499).all()


def test_pin() -> None:
    with judemap.new(1024) as s:
        try:
            s.pin()
        except judemap.PinDenied as error:
            pytest.skip(str(error))
        assert s.pinned
        s.unpin()
        assert not s.pinned


def test_without_ml_dtypes(monkeypatch: pytest.MonkeyPatch) -> None:
    import sys

    from judemap import dtype

    monkeypatch.setitem(sys.modules, "ml_dtypes", None)
    monkeypatch.setattr(dtype, "_NUMPY", {})
    monkeypatch.setattr(dtype, "_KNOWN", {})
    with judemap.new(1024) as s:
        s.write(np.array([0x3F80, 0x4000], np.uint16), bits="bfloat16")
        t = s.read()
        assert t.dtype == DType.BFLOAT16 and t.bits.tolist() == [0x3F80, 0x4000]
        with pytest.raises(judemap.DTypeError, match="pip install ml_dtypes"):
            _ = t.array
        with pytest.raises(judemap.DTypeError, match="pip install ml_dtypes"):
            s.update(3, "float8_e5m2")
        s.fill(3, "float8_e4m3fn", 1)
        assert s.read().bits.tolist() == [0x38] * 3


def test_version_is_the_projects() -> None:
    header = os.path.join(os.path.dirname(__file__), "../../include/judemap/version.h")
    with open(header) as text:
        assert f'#define JUDEMAP_VERSION "{judemap.__version__}"' in text.read()

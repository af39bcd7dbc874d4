"""Streams: several slots. A reader holds the frame that it works on, which stays whole meanwhile."""

from __future__ import annotations

import ctypes
import threading
from collections.abc import Callable, Sequence
from ctypes import byref
from types import TracebackType
from typing import Any, NamedTuple, cast

import numpy as np
import numpy.typing as npt

from . import _core
from ._core import CTensor
from .dtype import DType, DTypeLike
from .errors import CapacityError, Closed
from .mapping import Mapping, Update, check_capacity
from .segment import either
from .tensor import Copy, Tensor, byte_view, data_address, described, to_write


class ReaderInfo(NamedTuple):
    """One of a stream's readers, in any process."""

    number: int  # its place, 0 to 63
    process: int  # its process id, as that process sees it
    cursor: int  # the number of the frame that it reads next; a frame's version is twice its number
    held: int  # how many slots it holds
    dead: bool  # its process died, and no writer has taken its slots back yet


class Stream(Mapping):
    """Several slots, each with room for `capacity` bytes. new_stream, create_stream, ... make one.

    The writer commits frames, each to a slot that nobody uses, and a Reader holds the slot of the frame that it works
    on. With at least two slots more than all readers hold at a time, the writer always finds a free one. Its methods
    may be called from any thread. Use it as a context manager, or close it; otherwise it is closed when Python ends.
    """

    _kind = "stream"

    def __init__(self, handle: int, name: str, flags: int) -> None:
        mapping = _core.stream_mapping(handle)
        base = _core.mapping_base(mapping)
        super().__init__(handle, _core.Handle.memory(handle, _core.stream_free, base, 0), mapping, name, flags)
        self._sequence = ctypes.c_uint64.from_address(base)
        self.slots: int = int(_core.stream_slots(handle))
        """How many slots it has."""
        self.every_frame: bool = bool(_core.stream_every_frame(handle))
        """Whether no frame is lost: the writer waits for the slowest reader."""

    @property
    def version(self) -> int:
        """The version of the newest frame: twice its number; 0 before the first."""
        return self._sequence.value

    # ---- Reading ----

    def reader(self) -> Reader:
        """Makes a reader, which gets the frames that are committed from now on.

        Raises CapacityError if there are 64; PermissionError for a stream that was opened read-only, because such a
        process can't mark a slot as held (use `read_copy` there); Closed; Forked.
        """
        status, handle, code = _core.make(_core.reader_new, self._handle)
        if status != _core.OK:
            why = ""
            if status == _core.READ_ONLY:
                why = "it was opened read-only, and a reader has to say what it holds; read_copy works"
            if status == _core.NO_PLACE:
                why = f"it has {_core.MAX_READERS} readers, and can't have more"
            _core.fail(status, f"a reader of {self}", code=code, why=why)
        return Reader(self, handle)

    def read_copy(
        self, *, after: int | None = None, timeout: float | None = None, out: npt.NDArray[Any] | None = None
    ) -> Tensor:
        """Returns a copy of the newest frame. It needs no reader, and no writer waits for it.

        It is for a program that looks at a stream now and then, or that opened it read-only. With `after` it waits for
        a frame with a version above that, for at most `timeout` seconds. `out` is as for Segment.read_copy.

        Raises Empty if nothing was ever committed; TimeoutError; WriterDied if it waits and the writer died; Corrupt;
        Closed; ValueError if `out` can't take the frame.
        """
        deadline = _core.Deadline(timeout)
        buffer = None if out is None else byte_view(out)
        tensor = CTensor()
        while True:
            seen = self.version
            status = _core.stream_try_read(self._handle, after or 0, byref(tensor))
            if status == _core.OK:
                if buffer is None or (out is None and buffer.nbytes < tensor.byte_length):
                    buffer = np.empty(tensor.byte_length, np.uint8)
                status = _core.stream_try_read_into(
                    self._handle, after or 0, data_address(buffer), buffer.nbytes, byref(tensor)
                )
                if status == _core.OK:
                    return Tensor(tensor, Copy(buffer))
                if status == _core.BUFFER and out is not None:
                    raise ValueError(f"{self} has a frame of {tensor.byte_length} bytes, and out is {out.nbytes} long")
            wait = deadline.slice()
            if status == _core.EMPTY and after is not None:
                if wait == 0:
                    self._fail(_core.TIMEOUT, "waiting for", f"no frame after version {after} in {timeout} s")
                parked = _core.mapping_park(self._mapping, seen, wait)
                if parked != _core.OK:
                    self._fail(parked, "waiting for")
            elif status not in (_core.BUSY, _core.BUFFER):
                self._fail(status, "reading")
            elif wait == 0:
                self._fail(_core.TIMEOUT, "copying", f"its writer left no time for a copy in {timeout} s")

    def readers(self) -> list[ReaderInfo]:
        """The readers, of all processes. Each gets what is committed from now on. It makes a system call for each."""
        return [r for r in self._places() if r.cursor != 0 or r.dead]  # 0: it may begin after the next commit

    def _places(self) -> list[ReaderInfo]:
        """The readers that have a place, also those that still join."""
        infos = (_core.CReaderInfo * _core.MAX_READERS)()
        count = _core.stream_readers(self._handle, infos)
        return [ReaderInfo(i.number, i.process, i.cursor, i.held, bool(i.dead)) for i in infos[:count]]

    # ---- Writing ----

    def write(self, array: npt.ArrayLike, *, bits: DTypeLike | None = None, timeout: float | None = None) -> None:
        """Commits a copy of an array as the next frame. `bits` is as for Segment.write.

        It waits, for at most `timeout` seconds, while no slot can be written to: while readers hold all of them, or in
        a stream made with `every_frame` have not yet read what is in them.

        Raises TimeoutError, which says for which readers it waited; and what Segment.write raises. After that no frame
        was committed.
        """
        elements, dtype = to_write(array, None if bits is None else DType.of(bits))
        shape, size = described(elements.shape, dtype, self.capacity)
        of_c = (_core.c_shape(shape), len(shape), dtype, data_address(elements), size)
        self._with_slot("writing to", timeout, lambda wait: _core.stream_write(self._handle, *of_c, wait))

    def fill(self, shape: int | Sequence[int], dtype: DTypeLike, value: float, *, timeout: float | None = None) -> None:
        """Commits a frame in which every element is `value`. Raises what Segment.fill and `write` raise."""
        kind = DType.of(dtype)
        whole, _ = described(shape, kind, self.capacity)
        of_c = (_core.c_shape(whole), len(whole), kind, value)
        self._with_slot(
            "filling", timeout, lambda wait: _core.stream_fill(self._handle, *of_c, wait), filled=(kind, value)
        )

    def update(self, shape: int | Sequence[int], dtype: DTypeLike, *, timeout: float | None = None) -> Update:
        """For `with stream.update(shape, dtype) as array:`, which writes the next frame in its slot, without a copy.

        At first the array has an older frame's bytes. The end of the block commits. If the block raises, no reader sees
        that the frame was begun. After that the array is read-only. The block must not write to the stream or close it:
        that raises Busy. When the block begins, it raises what `write` raises.
        """
        kind = DType.of(dtype)
        numpy = kind.numpy
        whole, _ = described(shape, kind, self.capacity)
        return _StreamUpdate(self, whole, kind, numpy, timeout)

    def _with_slot(
        self,
        call: str,
        timeout: float | None,
        attempt: Callable[[int], int],
        filled: tuple[DType, float] | None = None,
        begins: bool = False,
    ) -> None:
        """Makes an attempt to write, in slices that signals can come between. An update's begin keeps the turn."""
        deadline = _core.Deadline(timeout)
        self._check_open(call)
        self._turn.take(call, self, deadline)
        done = False
        try:
            while True:
                wait = deadline.slice()
                status = attempt(wait)
                if status != _core.NO_SLOT or wait < _core.SLICE:
                    break
                self._check_open(call)
            if status == _core.NO_SLOT:
                held = "; ".join(
                    f"reader {r.number} of process {r.process} holds {r.held} and wants frame {r.cursor}"
                    if r.cursor != 0
                    else f"reader {r.number} of process {r.process} is still joining"
                    for r in self._places()
                )
                self._fail(status, call, f"no slot of {self.slots} became free in {timeout} s: {held}")
            if status != _core.OK:
                why = "{} can't hold {}".format(*filled) if filled and status == _core.RANGE else ""
                self._fail(status, call, why)
            done = True
        finally:
            if not (begins and done):
                if begins:
                    _core.stream_abort(self._handle)  # Ctrl-C may have come between the call and its result
                self._turn.give()

    def _retire(self) -> None:
        status = _core.stream_retire(self._handle)
        if status != _core.OK:
            self._fail(status, "closing")

    def __repr__(self) -> str:
        if self._closed:
            return f"<judemap {self}: closed>"
        every = ", every frame" if self.every_frame else ""
        return f"<judemap {self}: {self.slots} slots of {self.capacity} bytes{every}, version {self.version}>"


class _StreamUpdate(Update):
    def __init__(
        self,
        stream: Stream,
        shape: tuple[int, ...],
        kind: DType,
        numpy: np.dtype[np.generic],
        timeout: float | None,
    ) -> None:
        super().__init__(stream)
        self._stream, self._shape, self._kind, self._numpy, self._timeout = stream, shape, kind, numpy, timeout

    def _begin(self) -> npt.NDArray[Any]:
        stream = self._stream
        data, length = ctypes.c_void_p(), ctypes.c_uint64()
        of_c = (_core.c_shape(self._shape), len(self._shape), self._kind, byref(data), byref(length))
        stream._with_slot(
            "writing to", self._timeout, lambda wait: _core.stream_begin(stream._handle, *of_c, wait), begins=True
        )
        stream._turn.updating(True)
        bits = np.asarray(_core.Memory(data.value or 0, self._shape, self._kind.bits, True, stream._memory))
        return bits if self._numpy is self._kind.bits else bits.view(self._numpy)

    def _end(self, commit: bool) -> None:
        stream = self._stream
        try:
            status = (_core.stream_commit if commit else _core.stream_abort)(stream._handle)
        finally:
            stream._turn.updating(False)
            stream._turn.give()
        if status != _core.OK:
            stream._fail(status, "writing to")


class Frame(Tensor):
    """A frame of a stream. As long as its reader holds it, it stays whole, whatever the writer does.

    The reader holds it until its next frame, or, after `keep`, until `release`. It is given back earlier if the reader
    or the stream is closed, or if nothing refers to the Frame or an array of it any more. An array of a frame that is
    no longer held may change at any time, and reads as zeros once the stream is closed.
    """

    __slots__ = ()

    def keep(self) -> Frame:
        """Holds the frame past the reader's next one, until `release`. Returns the frame."""
        cast(_Hold, self._source).kept = True
        return self

    def release(self) -> None:
        """Gives the frame back; any thread may call it. Releasing again does nothing."""
        cast(_Hold, self._source).release()

    @property
    def held(self) -> bool:
        """Whether the frame is held."""
        return self.valid()


class _Hold:
    """The Source of a frame: gives it back when nothing refers to it any more."""

    __slots__ = ("_reader", "_tensor", "held", "kept")

    def __init__(self, reader: _ReaderHandle, tensor: CTensor) -> None:
        self._reader = reader  # and so the stream's memory
        self._tensor = tensor
        self.held = True
        self.kept = False

    def view(self, tensor: CTensor, dtype: np.dtype[np.generic], writable: bool) -> npt.NDArray[Any]:
        shape = tuple(tensor.shape[: tensor.ndim])
        return np.asarray(_core.Memory(tensor.data or 0, shape, dtype, writable, self))

    def valid(self, tensor: CTensor) -> bool:
        return self.held and self._reader.is_open()

    def release(self) -> None:
        if self.held:
            self.held = False
            self._reader.release(self._tensor)

    def __del__(self) -> None:
        self.release()


class _ReaderHandle:
    """Owns a jm_reader, and frees it when nothing refers to the object any more, before its stream.

    Its calls are made without giving other threads the interpreter, and so one after the other.
    """

    __slots__ = ("_memory", "_stream", "closed", "handle")

    def __init__(self, stream: Stream, handle: int) -> None:
        self.handle: int | None = handle  # None once Python's collector of cycles has finalized it
        self.closed = False
        self._stream = stream
        self._memory = stream._memory  # the stream's handle goes after this one

    def is_open(self) -> bool:
        return not self.closed and not self._stream.closed

    def release(self, tensor: CTensor) -> None:
        if self.handle is not None:
            _core.reader_release(self.handle, byref(tensor))

    def close(self) -> None:
        self.closed = True
        if self.handle is not None:
            _core.reader_close(self.handle)

    def __del__(self) -> None:
        handle, self.handle = self.handle, None
        _core.reader_free(handle)


class Reader:
    """One of a stream's readers: Stream.reader makes it.

    It holds one frame at a time, the one that it gave last, and those that were kept:

        with stream.reader() as reader:
            for frame in reader:
                use(frame.array)  # whole until the next frame

    A thread at a time gets frames; any thread may keep and release them.
    """

    def __init__(self, stream: Stream, handle: int) -> None:
        self._stream = stream
        self._reader = _ReaderHandle(stream, handle)
        self._current: _Hold | None = None
        self._turn = threading.Lock()
        self._closing = False

    @property
    def stream(self) -> Stream:
        """The stream that it reads."""
        return self._stream

    @property
    def missed(self) -> int:
        """How many of the frames committed since the reader was made it has skipped."""
        return int(_core.reader_missed(self._reader.handle))

    def next(self, timeout: float | None = None) -> Frame:
        """Returns the newest frame that the reader has not seen, or with `every_frame` the one after the last.

        It waits until there is one. It first gives the previous frame back, unless that was kept. `timeout` is in
        seconds; None waits without limit.

        Raises TimeoutError; WriterDied if the writer died and there is nothing newer, also if it died before the call,
        until another process writes; Closed if the reader or the stream is; Corrupt; Forked.
        """
        deadline = _core.Deadline(timeout)
        left = deadline.left()
        if not self._turn.acquire(timeout=-1 if left is None else min(left, threading.TIMEOUT_MAX)):
            raise TimeoutError(f"another thread waits for the next frame of {self._stream}")
        try:
            before, self._current = self._current, None
            if before is not None and not before.kept:
                before.release()
            tensor = CTensor()
            handle = self._reader.handle
            status = _core.reader_take(handle, 0, byref(tensor))
            wait = _core.SLICE
            while status == _core.TIMEOUT and wait == _core.SLICE:
                if self._closing:
                    status = _core.CLOSED
                    break
                wait = deadline.slice()
                status = _core.reader_next(handle, wait, byref(tensor))
            if status != _core.OK:
                why = f"no frame in {timeout} s" if status == _core.TIMEOUT else ""
                if status == _core.CLOSED and not self._stream.closed:
                    why = "the reader is closed"
                self._stream._fail(status, "reading", why)
            # From here on its _Hold says when the frame is given back, and not the next call.
            self._current = _Hold(self._reader, tensor)
            _core.reader_keep(handle, byref(tensor))
            return Frame(tensor, self._current)
        finally:
            self._turn.release()

    def close(self) -> None:
        """Gives back all frames that the reader holds, and its place in the stream.

        A call that waits in another thread raises Closed. Closing again does nothing.
        """
        self._closing = True  # ends a wait
        with self._turn:
            self._reader.close()

    def __enter__(self) -> Reader:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def __iter__(self) -> Reader:
        return self

    def __next__(self) -> Frame:
        """Calls `next` without a timeout. Iteration ends when the reader or its stream is closed."""
        try:
            return self.next()
        except Closed:
            raise StopIteration from None

    def __repr__(self) -> str:
        state = "" if self._reader.is_open() else ", closed"
        return f"<judemap reader of {self._stream}: missed {self.missed}{state}>"


def new_stream(slots: int, capacity: int, *, every_frame: bool = False) -> Stream:
    """Makes a stream of `slots` slots, from 2 to 256, with `capacity` bytes each, in memory of this process alone.

    With `every_frame` no frame is lost: the writer waits for the slowest reader. Without it the writer waits for
    nobody, and a slow reader gets the newest frame and misses those in between.
    """
    flags = _core.FLAG_EVERY_FRAME if every_frame else 0
    status, handle, code = _core.make(_core.stream_new, _check_slots(slots), check_capacity(capacity), flags)
    if status != _core.OK:
        _core.fail(status, f"a stream of {slots} slots of {capacity} bytes", code=code)
    return Stream(handle, "", flags)


def create_stream(name: str, slots: int, capacity: int, *, every_frame: bool = False, mode: int = 0o600) -> Stream:
    """Makes a stream that other processes open by its name, as `create` does for a segment.

    A segment and a stream can't have the same name. Raises what `create` and new_stream raise.
    """
    flags = _core.FLAG_EVERY_FRAME if every_frame else 0
    encoded = _core.encode_name(name)
    status, handle, code = _core.make(
        _core.stream_create, encoded, _check_slots(slots), check_capacity(capacity), mode, flags
    )
    if status != _core.OK:
        _core.fail(status, f"creating the stream {name!r} of {slots} slots of {capacity} bytes", name, code)
    return Stream(handle, name, flags)


def open_stream(name: str, *, read_only: bool = False) -> Stream:
    """Opens a stream by its name. One that is opened read-only is read as copies: Stream.read_copy.

    Raises what `open` raises; Corrupt also if the name is that of a segment.
    """
    flags = _core.FLAG_READ_ONLY if read_only else 0
    status, handle, code, why = _core.make_opened(_core.stream_open, _core.encode_name(name), flags)
    if status != _core.OK:
        _core.fail(status, f"opening the stream {name!r}", name, code, why)
    return Stream(handle, name, flags)


def open_or_create_stream(
    name: str, slots: int, capacity: int, *, every_frame: bool = False, mode: int = 0o600
) -> Stream:
    """Opens a stream, or creates it if there is none. It is for a producer that may be started again.

    Raises what open_stream and create_stream raise; CapacityError if it exists with fewer slots or less room;
    ValueError if it was made with another `every_frame`.
    """
    stream: Stream = either(
        lambda: open_stream(name),
        lambda: create_stream(name, slots, capacity, every_frame=every_frame, mode=mode),
    )
    if stream.slots < slots or stream.capacity < capacity:
        stream.close()
        raise CapacityError(
            f"the stream {name!r} is there, with {stream.slots} slots of {stream.capacity} bytes and not {slots} of "
            f"{capacity}: remove it if nobody needs it any more"
        )
    if stream.every_frame != every_frame:
        stream.close()
        raise ValueError(
            f"the stream {name!r} is there, made with every_frame={stream.every_frame} and not {every_frame}: "
            "remove it if nobody needs it any more"
        )
    return stream


def _check_slots(slots: int) -> int:
    if not 2 <= slots <= 256:
        raise CapacityError(f"a stream has from 2 to 256 slots, and not {slots}")
    return slots

"""Segments: one tensor in shared memory."""

from __future__ import annotations

import ctypes
import errno
import time
from collections.abc import Callable, Iterator, Sequence
from ctypes import byref
from typing import Any, TypeVar

import numpy as np
import numpy.typing as npt

from . import _core
from ._core import CTensor
from .dtype import DType, DTypeLike
from .errors import CapacityError
from .mapping import Mapping, Update, WriterState, check_capacity
from .tensor import Copy, Tensor, byte_view, data_address, described, to_write

# For how long a copying read waits for a writer of its own object that never pauses. Then it gets a turn.
_GIVE_WAY = 0.010  # s


T = TypeVar("T")


class Segment(Mapping):
    """A mapping with a header and one tensor. new, create, open and open_or_create make one.

    One writer commits, and any number of readers read views or copies. Its methods may be called from any thread. Use
    it as a context manager, or close it; otherwise it is closed when Python ends.
    """

    _kind = "segment"

    def __init__(self, handle: int, name: str, flags: int) -> None:
        base = _core.mapping_base(_core.segment_mapping(handle))
        mapping = _core.segment_mapping(handle)
        memory = _core.Handle.memory(handle, _core.free, base + 256, _core.mapping_capacity(mapping))
        super().__init__(handle, memory, mapping, name, flags)
        self._view = _View(handle, memory)

    @property
    def version(self) -> int:
        """The sequence: 0 before the first commit, 2 more after each, odd while a commit is in progress."""
        return int(_core.version(self._handle))

    # ---- Reading ----

    def read(self) -> Tensor:
        """Returns the tensor as a view of the segment's memory.

        The next commit overwrites it: use it first, then ask `valid`. Waits until a commit in progress has ended.

        Raises Empty, Closed, Corrupt, and WriterDied if the writer died in the middle of a commit.
        """
        return self._read(_core.NEVER)

    def _read(self, deadline: _core.Deadline) -> Tensor:
        tensor = CTensor()
        status = _core.try_read(self._handle, byref(tensor))
        if status == _core.BUSY:
            status = self._read_busy(tensor, deadline)
        if status != _core.OK:
            self._fail_read(status, tensor)
        return Tensor(tensor, self._view)

    def try_read(self) -> Tensor:
        """Like `read`, but raises Busy instead of waiting for a commit in progress."""
        tensor = CTensor()
        status = _core.try_read(self._handle, byref(tensor))
        if status != _core.OK:
            self._fail_read(status, tensor)
        return Tensor(tensor, self._view)

    def next(self, after: int = 0, timeout: float | None = None) -> Tensor:
        """Returns a view of the newest tensor whose version is above `after`, and waits until there is one.

        `timeout` is in seconds; None waits without limit. Raises TimeoutError; WriterDied if the writer died and there
        is nothing newer, also if it died before the call, until another process writes; Closed; Corrupt.
        """
        tensor = CTensor()
        status = _core.try_read(self._handle, byref(tensor))
        if status != _core.OK or tensor.version <= after:
            deadline = _core.Deadline(timeout)
            if status == _core.BUSY:
                self._turn.check("reading", self)
            while True:
                wait = deadline.slice()
                status = _core.next_(self._handle, after, wait, byref(tensor))
                if status != _core.TIMEOUT:
                    break
                if wait < _core.SLICE:
                    self._fail(status, "waiting for", f"no tensor after version {after} in {timeout} s")
        if status != _core.OK:
            self._fail_read(status, tensor)
        return Tensor(tensor, self._view)

    def frames(self, timeout: float | None = None) -> Iterator[Tensor]:
        """Yields the tensors that are committed from now on, as `next` returns them.

        A consumer that is too slow skips some of them.
        """
        seen = self.version & ~1
        while True:
            tensor = self.next(seen, timeout)
            seen = tensor.version
            yield tensor

    def read_copy(
        self, *, after: int | None = None, timeout: float | None = None, out: npt.NDArray[Any] | None = None
    ) -> Tensor:
        """Returns a copy of the tensor, which is never torn and belongs to the caller.

        With `after` it waits, as `next` does, for a tensor with a version above that. `out` is a C-contiguous array, to
        the beginning of which the bytes are copied; the array of the result is then a view of it. `timeout`, in
        seconds, limits the wait for a commit in progress too, and the attempts to copy while a writer of another
        process never pauses.

        Raises what `read` and `next` raise; ValueError if `out` can't take the tensor.
        """
        deadline = _core.Deadline(timeout)
        give_way = time.monotonic() + _GIVE_WAY
        buffer = None if out is None else byte_view(out)
        while True:
            seen = self.next(after, deadline.left()) if after is not None else self._read(deadline)
            if out is not None:
                buffer = byte_view(out)
            elif buffer is None or buffer.nbytes < seen.nbytes:
                buffer = np.empty(seen.nbytes, np.uint8)
            assert buffer is not None
            tensor = CTensor()
            where = (data_address(buffer), buffer.nbytes, byref(tensor))
            status = _core.try_read_into(self._handle, *where)
            if status == _core.BUSY and time.monotonic() > give_way and self._writer_is_here():
                status = _core.read_into(self._handle, *where)
            if status == _core.OK and (after is None or tensor.version > after):
                return Tensor(tensor, Copy(buffer))
            if status == _core.BUFFER and out is not None:
                raise ValueError(f"{self} has a tensor of {tensor.byte_length} bytes, and out is {buffer.nbytes} long")
            if status not in (_core.OK, _core.BUSY, _core.BUFFER) and not (status == _core.EMPTY and after is not None):
                self._fail_read(status, tensor)
            if deadline.slice() == 0:
                self._fail(_core.TIMEOUT, "copying", f"its writer left no time for a copy in {timeout} s")

    def _writer_is_here(self) -> bool:
        return self._name == "" or self.writer == WriterState.HERE

    def _read_busy(self, tensor: CTensor, deadline: _core.Deadline) -> int:
        """jm_read for a segment that is in a commit, in short calls so that signals can be handled in between."""
        self._turn.check("reading", self)
        while True:
            wait = deadline.slice()
            status = int(_core.next_(self._handle, 0, wait, byref(tensor)))
            if status == _core.FORKED:
                return int(_core.read(self._handle, byref(tensor)))
            if status == _core.TIMEOUT:
                status = int(_core.try_read(self._handle, byref(tensor)))  # an update that failed left it empty
            if status != _core.BUSY:
                return status
            if wait < _core.SLICE:
                return _core.TIMEOUT

    def _fail_read(self, status: int, tensor: CTensor) -> Any:
        why = ""
        if status == _core.CORRUPT:
            field = (_core.corrupt_field(self._handle, byref(tensor)) or b"sequence").decode()
            value: Any = {
                "ndim": tensor.ndim,
                "dtype": tensor.dtype,
                "shape": list(tensor.shape[: min(tensor.ndim, _core.MAX_DIMS)]),
                "byte_length": tensor.byte_length,
                "sequence": tensor.version,
            }[field]
            why = f"the header's {field} is {value}, which can't be true in a segment of {self._capacity} bytes"
        if status == _core.TIMEOUT:
            why = "the commit in progress did not end in time"
        return self._fail(status, "reading", why)

    # ---- Writing ----

    def write(self, array: npt.ArrayLike, *, bits: DTypeLike | None = None) -> None:
        """Commits a copy of an array.

        An array that is not row-major, or has another byte order, is copied twice. With `bits`, the array has unsigned
        integers that are the bits of elements of that type, as in `write(uint16s, bits="bfloat16")`; NumPy needs no
        ml_dtypes for that. Waits for writes of other threads.

        Raises, after which the previous tensor is still there: DTypeError, ShapeError, CapacityError with the numbers;
        WriterActive if another process is the writer; Closed; PermissionError if it was opened read-only.
        """
        elements, dtype = to_write(array, None if bits is None else DType.of(bits))
        shape, size = described(elements.shape, dtype, self._capacity)
        self._turn.take("writing to", self, _core.NEVER)
        try:
            status = _core.write(self._handle, _core.c_shape(shape), len(shape), dtype, data_address(elements), size)
        finally:
            self._turn.give()
        if status != _core.OK:
            self._fail(status, "writing to")

    def fill(self, shape: int | Sequence[int], dtype: DTypeLike, value: float) -> None:
        """Commits a tensor in which every element is `value`.

        Integer types take it truncated toward zero, floating-point types the nearest number. Raises what `write`
        raises, and RangeError if the type can't hold the value.
        """
        kind = DType.of(dtype)
        whole, _ = described(shape, kind, self._capacity)
        self._turn.take("filling", self, _core.NEVER)
        try:
            status = _core.fill(self._handle, _core.c_shape(whole), len(whole), kind, value)
        finally:
            self._turn.give()
        if status != _core.OK:
            self._fail(status, "filling", f"{kind} can't hold {value}" if status == _core.RANGE else "")

    def update(self, shape: int | Sequence[int], dtype: DTypeLike) -> Update:
        """For `with segment.update(shape, dtype) as array:`, which writes the next tensor in place, without a copy.

        At first the array has what was there before. Readers wait until the block ends. Its end commits; if it raises,
        readers get Empty until the next commit. After that the array is read-only. The block must not call methods of
        the same segment that wait: from its own thread they raise Busy. When the block begins, it raises what `write`
        raises.
        """
        kind = DType.of(dtype)
        numpy = kind.numpy
        whole, _ = described(shape, kind, self._capacity)
        return _SegmentUpdate(self, whole, kind, numpy)

    # ---- The rest ----

    def pin(self) -> None:
        """Locks the pages in physical memory. Raises PinDenied, which is not fatal: see `ulimit -l`."""
        status = _core.pin(self._handle)
        if status != _core.OK:
            self._fail(status, "pinning")

    def unpin(self) -> None:
        """Undoes pin."""
        _core.unpin(self._handle)

    @property
    def pinned(self) -> bool:
        """Whether its pages are locked in physical memory."""
        return bool(_core.is_pinned(self._handle))

    def _retire(self) -> None:
        status = _core.retire(self._handle)
        if status != _core.OK:
            self._fail(status, "closing")

    def __repr__(self) -> str:
        state = "closed" if self._closed else f"{self._capacity} bytes, version {self.version}"
        return f"<judemap {self}: {state}>"


class _View:
    """The Source of views of one segment."""

    __slots__ = ("_handle", "_memory", "_writable")

    def __init__(self, handle: int, memory: npt.NDArray[Any]) -> None:
        self._handle = handle
        self._writable = memory
        self._memory = np.asarray(_core.Memory(data_address(memory), memory.shape, memory.dtype, False, memory))

    def view(self, tensor: CTensor, dtype: np.dtype[np.generic], writable: bool) -> npt.NDArray[Any]:
        memory = self._writable if writable else self._memory
        return np.ndarray(tensor.shape[: tensor.ndim], dtype, memory)

    def valid(self, tensor: CTensor) -> bool:
        return bool(_core.valid(self._handle, byref(tensor)))


class _SegmentUpdate(Update):
    def __init__(self, segment: Segment, shape: tuple[int, ...], kind: DType, numpy: np.dtype[np.generic]) -> None:
        super().__init__(segment)
        self._shape, self._kind, self._numpy = shape, kind, numpy

    def _begin(self) -> npt.NDArray[Any]:
        segment = self._mapping
        segment._turn.take("writing to", segment, _core.NEVER)
        data, length = ctypes.c_void_p(), ctypes.c_uint64()
        try:
            status = _core.begin(
                segment._handle, _core.c_shape(self._shape), len(self._shape), self._kind, byref(data), byref(length)
            )
        except KeyboardInterrupt:
            _core.abort(segment._handle)  # it may have come between the call and its result
            segment._turn.give()
            raise
        if status != _core.OK:
            segment._turn.give()
            segment._fail(status, "writing to")
        segment._turn.updating(True)
        return np.ndarray(self._shape, self._numpy, segment._memory)

    def _end(self, commit: bool) -> None:
        segment = self._mapping
        try:
            status = (_core.commit if commit else _core.abort)(segment._handle)
        finally:
            segment._turn.updating(False)
            segment._turn.give()
        if status != _core.OK:
            segment._fail(status, "writing to")


def new(capacity: int) -> Segment:
    """Makes a segment with room for `capacity` bytes of tensor, in memory of this process alone."""
    status, handle, code = _core.make(_core.new, check_capacity(capacity), 0)
    if status != _core.OK:
        _core.fail(status, f"a segment of {capacity} bytes", code=code)
    return Segment(handle, "", 0)


def create(name: str, capacity: int, *, mode: int = 0o600, foreign_writers: bool = False) -> Segment:
    """Makes a segment that other processes open by its name; on Linux it is /dev/shm/NAME.

    A name has 1 to 255 bytes and no slash. `mode` is the file's permissions. `foreign_writers` says that a program that
    never wakes readers, such as the Node addon, may write to it too; readers then poll.

    Raises FileExistsError, CapacityError, ValueError for the name, OSError, Unsupported.
    """
    flags = _core.FLAG_FOREIGN_WRITERS if foreign_writers else 0
    encoded = _core.encode_name(name)
    status, handle, code = _core.make(_core.create, encoded, check_capacity(capacity), mode, flags)
    if status != _core.OK:
        _core.fail(status, f"creating the segment {name!r} of {capacity} bytes", name, code)
    return Segment(handle, name, flags)


def open(name: str, *, read_only: bool = False) -> Segment:
    """Opens a segment by its name, whatever program made it.

    `read_only` maps it without the right to write, which is needed where the file's permissions don't allow writing.
    Waiting then polls.

    Raises FileNotFoundError, PermissionError, Corrupt if it is no segment, ValueError for the name, OSError.
    """
    flags = _core.FLAG_READ_ONLY if read_only else 0
    status, handle, code, why = _core.make_opened(_core.open_, _core.encode_name(name), flags)
    if status != _core.OK:
        _core.fail(status, f"opening the segment {name!r}", name, code, why)
    return Segment(handle, name, flags)


def open_or_create(name: str, capacity: int, *, mode: int = 0o600) -> Segment:
    """Opens a segment, or creates it if there is none. It is for a producer that may be started again.

    Raises what `open` and `create` raise; CapacityError if it exists and has less room.
    """
    segment = either(lambda: open(name), lambda: create(name, capacity, mode=mode))
    if segment.capacity < capacity:
        segment.close()
        raise CapacityError(
            f"the segment {name!r} is there, with room for {segment.capacity} bytes and not {capacity}: "
            "remove it if nobody needs it any more"
        )
    return segment


def either(open_it: Callable[[], T], create_it: Callable[[], T]) -> T:
    """Opens what has a name, or creates it, while others create and remove it."""
    for _ in range(100):
        try:
            return open_it()
        except FileNotFoundError:
            pass
        try:
            return create_it()
        except FileExistsError:
            pass
    raise OSError(errno.EAGAIN, "the name comes and goes")


def remove(name: str) -> None:
    """Removes the name of a segment or stream.

    Whoever has it open can go on using it. Its memory is freed when the last of them closes it.

    Raises FileNotFoundError, PermissionError, ValueError for the name, Unsupported.
    """
    status = _core.remove(_core.encode_name(name))
    if status != _core.OK:
        _core.fail(status, f"removing {name!r}", name)


def names() -> list[str]:
    """Returns the names of the segments and streams that this process may read, in alphabetical order.

    Segments of the Node addon are not listed, because nothing in them tells them from other files.
    """
    status, listing, code = _core.make(_core.list_new)
    if status != _core.OK:
        _core.fail(status, "listing segments", code=code)
    found = []
    while (name := _core.list_next(listing)) is not None:
        found.append(name.decode(errors="surrogateescape"))
    _core.list_free(listing)
    return sorted(found)

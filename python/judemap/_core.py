"""The C interface, include/judemap/judemap.h, by ctypes. The only file that knows C."""

from __future__ import annotations

import ctypes
import errno
import os
import threading
import time
from collections.abc import Callable
from ctypes import POINTER, byref, c_char_p, c_double, c_int, c_int64, c_size_t, c_uint32, c_uint64, c_void_p
from pathlib import Path
from typing import Any, NoReturn

import numpy as np
import numpy.typing as npt

from . import errors

MAX_DIMS = 8
MAX_READERS = 64

# jm_status
OK, EMPTY, BUSY, CLOSED, CAPACITY, SHAPE, DTYPE, RANGE, CORRUPT, BUFFER, PIN_DENIED, SYSTEM, ARGUMENT, NAME = range(14)
READ_ONLY, WRITER_ACTIVE, WRITER_DIED, TIMEOUT, FORKED, NO_PROC, NO_SLOT, NO_PLACE = range(14, 22)

# The flags of the calls that make and open.
FLAG_READ_ONLY, FLAG_FOREIGN_WRITERS, FLAG_EVERY_FRAME = 2, 4, 64


class CTensor(ctypes.Structure):
    """jm_tensor."""

    _fields_ = (
        ("version", c_uint64),
        ("ndim", c_uint32),
        ("dtype", c_uint32),
        ("shape", c_uint64 * MAX_DIMS),
        ("byte_length", c_uint64),
        ("data", c_void_p),
    )


class CStats(ctypes.Structure):
    """jm_stats."""

    _fields_ = (("commits", c_uint64), ("wakes", c_uint64))


class CReaderInfo(ctypes.Structure):
    """jm_reader_info."""

    _fields_ = (
        ("number", c_uint32),
        ("process", c_uint32),
        ("cursor", c_uint64),
        ("held", c_uint32),
        ("dead", c_uint32),
    )


_path = str(Path(__file__).with_name("libjudemap.so"))
if not os.path.exists(_path):
    raise ImportError(f"{_path} is not there: this is judemap's source, which `pip install` makes a package of")
# The same library, opened twice. A call through the one lets other threads run Python meanwhile. A call through the
# other does not: it takes less time than to hand the interpreter over, and a thread that hands it over gets it back
# only when the others give it, which may be 5 ms later.
_waits = ctypes.CDLL(_path, use_errno=True)
_quick = ctypes.PyDLL(_path, use_errno=True)


def _function(library: ctypes.CDLL, name: str, result: Any, *arguments: Any) -> Callable[..., Any]:
    function = getattr(library, name)
    function.restype = result
    function.argtypes = arguments
    return function  # type: ignore[no-any-return]


_H = c_void_p  # a handle
_T = POINTER(CTensor)
_SHAPE = POINTER(c_uint64)
_DESCRIBED = (_SHAPE, c_uint32, c_uint32)  # shape, rank, element type
_U64 = POINTER(c_uint64)

strerror = _function(_quick, "jm_strerror", c_char_p, c_int)

new = _function(_waits, "jm_new", c_int, c_uint64, c_uint32, POINTER(_H))
create = _function(_waits, "jm_create", c_int, c_char_p, c_uint64, c_uint32, c_uint32, POINTER(_H))
open_ = _function(_waits, "jm_open", c_int, c_char_p, c_uint32, POINTER(_H), POINTER(c_char_p))
remove = _function(_waits, "jm_remove", c_int, c_char_p)
retire = _function(_waits, "jm_retire", c_int, _H)
free = _function(_quick, "jm_free", None, _H)
write = _function(_waits, "jm_write", c_int, _H, *_DESCRIBED, c_void_p, c_uint64)
fill = _function(_waits, "jm_fill", c_int, _H, *_DESCRIBED, c_double)
begin = _function(_waits, "jm_begin", c_int, _H, *_DESCRIBED, POINTER(c_void_p), _U64)
commit = _function(_waits, "jm_commit", c_int, _H)
abort = _function(_waits, "jm_abort", c_int, _H)
read = _function(_waits, "jm_read", c_int, _H, _T)
next_ = _function(_waits, "jm_next", c_int, _H, c_uint64, c_int64, _T)
try_read = _function(_quick, "jm_try_read", c_int, _H, _T)
valid = _function(_quick, "jm_valid", c_int, _H, _T)
read_into = _function(_waits, "jm_read_into", c_int, _H, c_void_p, c_uint64, _T)
try_read_into = _function(_waits, "jm_try_read_into", c_int, _H, c_void_p, c_uint64, _T)
corrupt_field = _function(_quick, "jm_corrupt_field", c_char_p, _H, _T)
version = _function(_quick, "jm_version", c_uint64, _H)
segment_mapping = _function(_quick, "jm_segment_mapping", c_void_p, _H)

mapping_park = _function(_waits, "jm_mapping_park", c_int, _H, c_uint64, c_int64)
mapping_writer_state = _function(_quick, "jm_mapping_writer_state", c_int, _H)
mapping_get_stats = _function(_quick, "jm_mapping_get_stats", None, _H, POINTER(CStats))
mapping_capacity = _function(_quick, "jm_mapping_capacity", c_uint64, _H)
mapping_base = _function(_quick, "jm_mapping_base", c_void_p, _H)
pin = _function(_waits, "jm_pin", c_int, _H)
unpin = _function(_waits, "jm_unpin", None, _H)
is_pinned = _function(_quick, "jm_is_pinned", c_int, _H)

list_new = _function(_waits, "jm_list_new", c_int, POINTER(_H))
list_next = _function(_waits, "jm_list_next", c_char_p, _H)
list_free = _function(_waits, "jm_list_free", None, _H)

stream_new = _function(_waits, "jm_stream_new", c_int, c_uint32, c_uint64, c_uint32, POINTER(_H))
stream_create = _function(
    _waits, "jm_stream_create", c_int, c_char_p, c_uint32, c_uint64, c_uint32, c_uint32, POINTER(_H)
)
stream_open = _function(_waits, "jm_stream_open", c_int, c_char_p, c_uint32, POINTER(_H), POINTER(c_char_p))
stream_retire = _function(_waits, "jm_stream_retire", c_int, _H)
stream_free = _function(_quick, "jm_stream_free", None, _H)
stream_mapping = _function(_quick, "jm_stream_mapping", c_void_p, _H)
stream_slots = _function(_quick, "jm_stream_slots", c_uint32, _H)
stream_every_frame = _function(_quick, "jm_stream_every_frame", c_int, _H)
stream_write = _function(_waits, "jm_stream_write", c_int, _H, *_DESCRIBED, c_void_p, c_uint64, c_int64)
stream_fill = _function(_waits, "jm_stream_fill", c_int, _H, *_DESCRIBED, c_double, c_int64)
stream_begin = _function(_waits, "jm_stream_begin", c_int, _H, *_DESCRIBED, POINTER(c_void_p), _U64, c_int64)
stream_commit = _function(_waits, "jm_stream_commit", c_int, _H)
stream_abort = _function(_waits, "jm_stream_abort", c_int, _H)
stream_try_read = _function(_quick, "jm_stream_try_read", c_int, _H, c_uint64, _T)
stream_try_read_into = _function(_waits, "jm_stream_try_read_into", c_int, _H, c_uint64, c_void_p, c_uint64, _T)
stream_readers = _function(_waits, "jm_stream_readers", c_size_t, _H, POINTER(CReaderInfo))

reader_new = _function(_waits, "jm_reader_new", c_int, _H, POINTER(_H))
reader_close = _function(_quick, "jm_reader_close", None, _H)
reader_free = _function(_quick, "jm_reader_free", None, _H)
reader_next = _function(_waits, "jm_reader_next", c_int, _H, c_int64, _T)
reader_take = _function(_quick, "jm_reader_next", c_int, _H, c_int64, _T)  # with no time to wait
reader_keep = _function(_quick, "jm_reader_keep", None, _H, _T)
reader_release = _function(_quick, "jm_reader_release", None, _H, _T)
reader_missed = _function(_quick, "jm_reader_missed", c_uint64, _H)


class Handle:
    """Owns a jm_segment or a jm_stream, and frees it when nothing refers to the Handle any more.

    Whatever needs the handle refers to an array of `memory`, and never to the Handle itself. Python's collector of
    cycles doesn't look into NumPy's arrays: it could else finalize the Handle before something in the same cycle that
    is still going to use it.
    """

    __slots__ = ("__array_interface__", "_free", "_handle")

    def __init__(self, handle: int, free: Callable[[int], None], address: int, size: int) -> None:
        self._handle = handle
        self._free = free
        self.__array_interface__ = interface(address, (size,), np.dtype(np.uint8), writable=True)

    def __del__(self) -> None:
        self._free(self._handle)

    @classmethod
    def memory(cls, handle: int, free: Callable[[int], None], address: int, size: int) -> npt.NDArray[Any]:
        """The handle as an array of the bytes at an address, for writing. It owns the handle."""
        return np.asarray(cls(handle, free, address, size))


class Memory:
    """Some bytes that `owner` keeps where they are, for np.asarray."""

    __slots__ = ("__array_interface__", "owner")

    def __init__(
        self, address: int, shape: tuple[int, ...], bits: np.dtype[np.generic], writable: bool, owner: object
    ) -> None:
        self.owner = owner
        self.__array_interface__ = interface(address, shape, bits, writable)


def interface(address: int, shape: tuple[int, ...], bits: np.dtype[np.generic], writable: bool) -> dict[str, Any]:
    """What NumPy asks an object for that has memory to look at."""
    return {"data": (address, not writable), "shape": shape, "typestr": bits.str, "version": 3}


def encode_name(name: str) -> bytes:
    """A name for C. Raises ValueError for one with a zero byte."""
    encoded = os.fsencode(name)
    if b"\0" in encoded:
        raise ValueError(f"the name {name!r} has a zero byte")
    return encoded


def make(function: Callable[..., int], *arguments: Any) -> tuple[int, int, int]:
    """Calls a function that stores a handle: status, handle and errno."""
    handle = c_void_p()
    status = function(*arguments, byref(handle))
    return status, handle.value or 0, ctypes.get_errno()


def make_opened(function: Callable[..., int], name: bytes, flags: int) -> tuple[int, int, int, str]:
    """Calls a function that opens a name: status, handle, errno, and why it is no segment or stream."""
    handle, why = c_void_p(), c_char_p()
    status = function(name, flags, byref(handle), byref(why))
    return status, handle.value or 0, ctypes.get_errno(), (why.value or b"").decode()


def c_shape(shape: tuple[int, ...]) -> ctypes.Array[c_uint64]:
    """A shape for C."""
    return (c_uint64 * max(len(shape), 1))(*shape)


_CLASSES: dict[int, type[errors.Error]] = {
    EMPTY: errors.Empty,
    BUSY: errors.Busy,
    CLOSED: errors.Closed,
    CAPACITY: errors.CapacityError,
    SHAPE: errors.ShapeError,
    DTYPE: errors.DTypeError,
    RANGE: errors.RangeError,
    CORRUPT: errors.Corrupt,
    PIN_DENIED: errors.PinDenied,
    WRITER_ACTIVE: errors.WriterActive,
    WRITER_DIED: errors.WriterDied,
    FORKED: errors.Forked,
    NO_PROC: errors.Unsupported,
    NO_PLACE: errors.CapacityError,
}


def fail(status: int, what: str, name: str = "", code: int | None = None, why: str = "") -> NoReturn:
    """Raises what a status means. `what` says of which thing or call; `why` replaces the core's words."""
    if code is None:
        code = ctypes.get_errno()
    if status == SYSTEM:
        if code == errno.ENOSYS:
            raise errors.Unsupported(f"{what}: this platform has no shared segments")
        # OSError makes itself a FileExistsError, FileNotFoundError, PermissionError, ...
        raise OSError(code, f"{what}: {os.strerror(code)}", name or None)
    reason = why or (strerror(status) or b"").decode()
    if status == PIN_DENIED:
        reason += f" ({os.strerror(code)})"
    message = f"{what}: {reason}"
    if status in (TIMEOUT, NO_SLOT):
        raise TimeoutError(message)
    if status == READ_ONLY:
        raise PermissionError(message)
    if status == NAME:
        raise ValueError(message)
    raise _CLASSES.get(status, errors.Error)(message)


# Waits in C go on for so long at most before Python looks whether there was a signal, such as Ctrl-C.
SLICE = 100_000_000  # ns


class Deadline:
    """The end of a wait."""

    __slots__ = ("_end",)

    def __init__(self, timeout: float | None) -> None:
        """Seconds from now; None: never."""
        self._end = None if timeout is None else time.monotonic() + timeout

    def left(self) -> float | None:
        """Seconds until it, 0 at least; None: it never is."""
        return None if self._end is None else max(self._end - time.monotonic(), 0.0)

    def slice(self) -> int:
        """Nanoseconds for the next wait in C; 0: the time is over."""
        left = self.left()
        return SLICE if left is None else min(SLICE, int(left * 1e9))


NEVER = Deadline(None)


class Turn:
    """The lock between the threads that write through one handle.

    Python waits for it, which a signal can interrupt; the core's own lock is then always free. It is held from the
    beginning of an update to its end.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._updater = 0  # the thread that is in an update

    def take(self, call: str, what: object, deadline: Deadline) -> None:
        if self._lock.acquire(blocking=False):
            return
        self.check(call, what)
        left = deadline.left()
        if not self._lock.acquire(timeout=-1 if left is None else min(left, threading.TIMEOUT_MAX)):
            raise TimeoutError(f"{call} {what}: another thread of this process is in an update of it")

    def give(self) -> None:
        self._lock.release()

    def check(self, call: str, what: object) -> None:
        """Raises Busy if this thread would wait for itself."""
        if self._updater == threading.get_ident():
            raise errors.Busy(f"{call} {what}: this thread is in an update of it, which has to end first")

    def updating(self, begun: bool) -> None:
        self._updater = threading.get_ident() if begun else 0

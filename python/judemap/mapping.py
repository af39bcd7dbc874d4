"""What segments and streams have in common."""

from __future__ import annotations

import atexit
import enum
import os
import weakref
from types import TracebackType
from typing import Any, NamedTuple, TypeVar

import numpy as np
import numpy.typing as npt

from . import _core
from .errors import Busy

Self = TypeVar("Self", bound="Mapping")


class WriterState(enum.IntEnum):
    """Who the writer of a segment or stream is."""

    NONE = 0  # no writer is known; a program that takes no lock, such as the Node addon, may write
    HERE = 1  # this object
    OTHER = 2  # another process, or another object of this process
    DIED = 3  # a process that died before it closed, and no other has taken over

    def __str__(self) -> str:
        return self.name.lower()


class Stats(NamedTuple):
    """What was written through one object."""

    commits: int  # commits that ended, also those of failed updates
    wakes: int  # commits that found a reader parked, and made a system call to wake it


class Mapping:
    """The base of Segment and Stream."""

    _kind = ""

    def __init__(self, handle: int, memory: npt.NDArray[Any], mapping: int, name: str, flags: int) -> None:
        """Takes over the handle, which `memory` keeps alive (Handle.memory)."""
        self._handle = handle
        self._memory = memory  # keeps the handle alive
        self._mapping = mapping
        self._name = name
        self._read_only = bool(flags & _core.FLAG_READ_ONLY)
        self._turn = _core.Turn()
        self._closed = False
        self._capacity = int(_core.mapping_capacity(mapping))
        _open.add(self)

    @property
    def name(self) -> str:
        """The name under which other processes find it; "" for one made by new or new_stream."""
        return self._name

    @property
    def capacity(self) -> int:
        """How many bytes of tensor it has room for; of a stream, each slot."""
        return self._capacity

    @property
    def closed(self) -> bool:
        """Whether close was called."""
        return self._closed

    @property
    def writer(self) -> WriterState:
        """Who the writer is: the process that wrote first, until it closes or ends.

        It is NONE for one made by new or new_stream.
        """
        return WriterState(_core.mapping_writer_state(self._mapping))

    @property
    def stats(self) -> Stats:
        """What was written through this object."""
        stats = _core.CStats()
        _core.mapping_get_stats(self._mapping, stats)
        return Stats(stats.commits, stats.wakes)

    def close(self) -> None:
        """Gives back the right to write and the memory.

        Calls that wait in other threads raise Closed. It waits for a write or update that is running in another thread;
        in an update of this thread it raises Busy. Arrays keep their addresses and read as zeros from then on. A
        segment or stream with a name stays there, for other processes and under its name: see remove. Closing again
        does nothing.
        """
        self._turn.check("closing", self)
        self._closed = True  # ends calls that wait for a slot
        self._turn.take("closing", self, _core.NEVER)
        try:
            self._retire()
        finally:
            self._turn.give()

    def _retire(self) -> None:
        raise NotImplementedError

    def __enter__(self: Self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def __reduce__(self) -> Any:
        raise TypeError(f"{self} can't be pickled: open it by its name in the other process")

    def __str__(self) -> str:
        return f"{self._kind} {self._name!r}" if self._name else f"{self._kind} without a name"

    def _fail(self, status: int, call: str, why: str = "") -> Any:
        return _core.fail(status, f"{call} {self}", self._name, why=why)

    def _check_open(self, call: str) -> None:
        if self._closed:
            self._fail(_core.CLOSED, call, f"the {self._kind} is closed")


_open: weakref.WeakSet[Mapping] = weakref.WeakSet()


def _close_all() -> None:
    """Closes all that is open when the program ends, so that it does not count as a writer that died.

    What is in the middle of an update stays as it is.
    """
    for mapping in list(_open):
        try:
            mapping._closed = True
            mapping._turn.take("closing", mapping, _core.Deadline(0.2))
        except (TimeoutError, Busy):
            continue
        mapping._retire()
        mapping._turn.give()


def _forked() -> None:
    """A forked child has copies of locks that are held by threads that it does not have."""
    for mapping in list(_open):
        mapping._turn = _core.Turn()


atexit.register(_close_all)
if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_forked)


class Update:
    """A tensor that is being written in place: what `update` returns, for `with`."""

    def __init__(self, mapping: Mapping) -> None:
        self._mapping = mapping
        self._array: npt.NDArray[Any] | None = None

    def _begin(self) -> npt.NDArray[Any]:
        raise NotImplementedError

    def _end(self, commit: bool) -> None:
        raise NotImplementedError

    def __enter__(self) -> npt.NDArray[Any]:
        if self._array is not None:
            raise Busy("an update begins once")
        self._array = self._begin()
        return self._array

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        assert self._array is not None
        self._array.flags.writeable = False  # readers read these bytes from here on
        self._end(commit=kind is None)


def check_capacity(capacity: int) -> int:
    """A capacity for C."""
    if not 0 < capacity < 1 << 63:
        _core.fail(_core.CAPACITY, f"a capacity of {capacity} bytes", why="it must be above 0, and can't be so large")
    return int(np.int64(capacity))

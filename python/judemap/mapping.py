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
    """Who writes to a segment or stream."""

    NONE = 0  # nobody, as far as can be told: the Node addon takes no lock
    HERE = 1  # this object
    OTHER = 2  # another process, or another object of this one
    DIED = 3  # a process that died without closing, and none has taken over

    def __str__(self) -> str:
        return self.name.lower()


class Stats(NamedTuple):
    """What the writer of one object did."""

    commits: int  # that ended, failed updates included
    wakes: int  # commits that found a reader parked, and woke it by a system call


class Mapping:
    """The base of Segment and Stream."""

    _kind = ""

    def __init__(self, handle: int, memory: npt.NDArray[Any], mapping: int, name: str, flags: int) -> None:
        """Takes the handle over, which `memory` owns (Handle.memory)."""
        self._handle = handle
        self._memory = memory  # keeps the handle
        self._mapping = mapping
        self._name = name
        self._read_only = bool(flags & _core.FLAG_READ_ONLY)
        self._turn = _core.Turn()
        self._closed = False
        self._capacity = int(_core.mapping_capacity(mapping))
        _open.add(self)

    @property
    def name(self) -> str:
        """The name under which other processes find it: "" for one of new or new_stream."""
        return self._name

    @property
    def capacity(self) -> int:
        """Bytes of tensor that it was made for."""
        return self._capacity

    @property
    def closed(self) -> bool:
        """Whether close was called."""
        return self._closed

    @property
    def writer(self) -> WriterState:
        """Who writes: the process that wrote first, until it closes or ends. NONE for one of new or new_stream."""
        return WriterState(_core.mapping_writer_state(self._mapping))

    @property
    def stats(self) -> Stats:
        """What was written through this object."""
        stats = _core.CStats()
        _core.mapping_get_stats(self._mapping, stats)
        return Stats(stats.commits, stats.wakes)

    def close(self) -> None:
        """Ends the use of it: gives the right to write back, and the memory.

        What waits in other threads raises Closed. A write or update that is running in another thread is waited for;
        in an update of this thread it raises Busy. Arrays stay where they are and read as zeros from then on. A segment
        or stream with a name lives on, for others and under its name: see remove. Closing again does nothing.
        """
        self._turn.check("closing", self)
        self._closed = True  # ends those that wait for a slot
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
    """A program that ends did not die: what it has open is closed, but for what is in the middle of an update."""
    for mapping in list(_open):
        try:
            mapping._closed = True
            mapping._turn.take("closing", mapping, _core.Deadline(0.2))
        except (TimeoutError, Busy):
            continue
        mapping._retire()
        mapping._turn.give()


def _forked() -> None:
    """A forked child has copies of locks that threads hold who are not there."""
    for mapping in list(_open):
        mapping._turn = _core.Turn()


atexit.register(_close_all)
if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_forked)


class Update:
    """A tensor that is being written in place: what update returns, for `with`."""

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
        self._array.flags.writeable = False  # for who keeps it: readers look at these bytes from here on
        self._end(commit=kind is None)


def check_capacity(capacity: int) -> int:
    """A capacity for C."""
    if not 0 < capacity < 1 << 63:
        _core.fail(_core.CAPACITY, f"a capacity of {capacity} bytes", why="it must be above 0, and can't be so large")
    return int(np.int64(capacity))

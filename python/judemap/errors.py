"""The exceptions that judemap raises.

Some exceptions are Python's own: FileExistsError if a name is in use, FileNotFoundError if nothing has it, TimeoutError
after a timeout, PermissionError for writing to what was opened read-only, and OSError for other errors of the system.
"""

from __future__ import annotations


class Error(Exception):
    """The base of judemap's own errors."""


class Empty(Error):
    """There is no tensor: nothing was ever written, or the last update failed. `next` waits for one."""


class Busy(Error):
    """A commit is in progress. Try again.

    Only try_read raises it, and calls in an update that would have to wait for that same update.
    """


class Closed(Error):
    """The segment, stream or reader was closed."""


class CapacityError(Error, ValueError):
    """A capacity is not possible, a tensor is larger than the capacity, or a stream has as many readers as it can."""


class ShapeError(Error, ValueError):
    """The rank is above 8, a dimension is negative, or the size overflows."""


class DTypeError(Error, TypeError):
    """judemap doesn't know the element type, or NumPy doesn't know it without ml_dtypes."""


class RangeError(Error, ValueError):
    """The element type can't hold the value."""


class Corrupt(Error):
    """The header contradicts itself: a program that does not follow the layout wrote to the segment."""


class PinDenied(Error):
    """The system refused to lock the pages. The segment works without that."""


class WriterDied(Error):
    """The writing process died, and there is nothing newer to read.

    Start it again; the next process that writes takes over.
    """


class WriterActive(Error):
    """Another process, or another object of this one, is the writer until it closes or ends."""


class Forked(Error):
    """A forked child can only read through its parent's Segment. Open the segment or stream anew."""


class Unsupported(Error):
    """This platform can't do it."""

"""What judemap's calls raise.

Names that exist already or don't exist raise FileExistsError and FileNotFoundError, the system's other refusals
OSError, a wait whose time is over TimeoutError, writing to what was opened read-only PermissionError.
"""

from __future__ import annotations


class Error(Exception):
    """The base of judemap's own errors."""


class Empty(Error):
    """There is no tensor: nothing was ever written, or the last update gave up."""


class Busy(Error):
    """A commit is in progress. Only try_read raises it, and calls that would wait for their own thread's update."""


class Closed(Error):
    """The segment, stream or reader was closed."""


class CapacityError(Error, ValueError):
    """A capacity that can't be had, a tensor larger than the capacity, or a stream with as many readers as can be."""


class ShapeError(Error, ValueError):
    """A rank above 8, a negative dimension, or a size that overflows."""


class DTypeError(Error, TypeError):
    """An element type that judemap doesn't know, or that NumPy doesn't know without ml_dtypes."""


class RangeError(Error, ValueError):
    """A value that the element type can't hold."""


class Corrupt(Error):
    """The header can't be true. Something wrote to the segment that doesn't keep to the layout."""


class PinDenied(Error):
    """The system refused to lock the pages. The segment works without that."""


class WriterDied(Error):
    """The writing process died, and there is nothing newer to read. Another may take over by writing."""


class WriterActive(Error):
    """Another process, or another handle of this one, is the writer until it closes or dies."""


class Forked(Error):
    """A forked child can read through its parent's Segment, and nothing else. It opens segments and streams anew."""


class Unsupported(Error):
    """This platform can't do it."""

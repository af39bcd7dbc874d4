"""Shared-memory tensors between processes, in Python, Go, C++ and Node.

A Segment has one tensor, which each commit overwrites. A Stream has several slots, and a reader holds the frame that it
works on:

    import judemap

    with judemap.open_or_create_stream("camera", slots=4, capacity=1 << 20) as stream, stream.reader() as reader:
        for frame in reader:
            print(frame.array.mean(), reader.missed)  # a NumPy view: no copy

Calls that wait let other threads run, and Ctrl-C ends them with KeyboardInterrupt. A program that ends, also by an
exception, gives the right to write back. One that is killed does not, and readers get WriterDied.

A forked child can read through a Segment that it has from its parent. It holds none of the parent's locks and slots,
and its end does not end the parent's writing. For everything else it opens segments and streams anew, by their names.

Don't open a segment with multiprocessing.shared_memory.SharedMemory(name=...). When that Python ends it deletes the
segment: up to Python 3.12 always, and after that unless it was given track=False.
"""

from importlib.metadata import version as _version

from .dtype import DType
from .errors import (
    Busy,
    CapacityError,
    Closed,
    Corrupt,
    DTypeError,
    Empty,
    Error,
    Forked,
    PinDenied,
    RangeError,
    ShapeError,
    Unsupported,
    WriterActive,
    WriterDied,
)
from .mapping import Stats, Update, WriterState
from .segment import Segment, create, names, new, open, open_or_create, remove
from .stream import (
    Frame,
    Reader,
    ReaderInfo,
    Stream,
    create_stream,
    new_stream,
    open_or_create_stream,
    open_stream,
)
from .tensor import Tensor

__version__ = _version("judemap")

__all__ = [
    "Busy",
    "CapacityError",
    "Closed",
    "Corrupt",
    "DType",
    "DTypeError",
    "Empty",
    "Error",
    "Forked",
    "Frame",
    "PinDenied",
    "RangeError",
    "Reader",
    "ReaderInfo",
    "Segment",
    "ShapeError",
    "Stats",
    "Stream",
    "Tensor",
    "Unsupported",
    "Update",
    "WriterActive",
    "WriterDied",
    "WriterState",
    "create",
    "create_stream",
    "names",
    "new",
    "new_stream",
    "open",
    "open_or_create",
    "open_or_create_stream",
    "open_stream",
    "remove",
]

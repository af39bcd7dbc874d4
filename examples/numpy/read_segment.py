"""Reads a judemap segment with NumPy alone: no compiler, no native code.

    python read_segment.py NAME

This is for x86-64. A reader loads the sequence, then the tensor, then the sequence again, and the processor must do it
in that order. x86-64 does: it doesn't reorder loads with loads, and the interpreter runs between them. arm64 reorders
them, and Python has no fence: there, and wherever you can install it, use the package judemap.

Never open a segment by multiprocessing.shared_memory.SharedMemory(name=...): up to Python 3.12 it deletes the segment
when the first such Python ends. A file that somebody cuts short faults who reads it, as with any mapped file.
"""

from __future__ import annotations

import mmap
import os
import platform
import sys
import time

import numpy as np

# The element types by their numbers. NumPy has no bfloat16 and float8: you get their bits.
DTYPES = [np.dtype(name) for name in (
    "float32", "float64", "int32", "int64", "uint8", "int8", "uint16", "int16", "bool", "float16",
    "uint16",  # bfloat16
    "uint32", "uint64",
    "uint8", "uint8",  # float8_e4m3fn, float8_e5m2
    "complex64",
)]  # fmt: skip
DATA = 256  # where the tensor begins


class SegmentReader:
    """A segment, mapped for reading only: its writer never notices."""

    def __init__(self, name: str) -> None:
        if platform.machine() not in ("x86_64", "AMD64"):
            raise RuntimeError(f"not safe on {platform.machine()}: its loads are reordered; use the package judemap")
        with open(os.path.join("/dev/shm", name), "rb") as file:
            self._memory = mmap.mmap(file.fileno(), 0, prot=mmap.PROT_READ)
        if len(self._memory) <= DATA:
            raise ValueError(f"{name} has {len(self._memory)} bytes, and is no segment")
        if int.from_bytes(self._memory[192:196], "little") not in (0, 0x314D554A):  # a plain segment, or "JUM1"
            raise ValueError(f"{name} is no segment, by its magic number")
        self._sequence = np.frombuffer(self._memory, np.uint64, 1)  # aligned: one load
        self.retries = 0  # attempts that a commit spoiled

    def read(self, after: int = 0, timeout: float = 10) -> tuple[np.ndarray, int]:
        """A copy of the tensor, never torn, and its version, which is above `after`. Looks every millisecond."""
        end = time.monotonic() + timeout
        while time.monotonic() < end:
            version = int(self._sequence[0])
            if version % 2 == 0 and version > after:  # odd: a commit is in progress; 0: nothing was written
                array = self._copy()
                if int(self._sequence[0]) == version:
                    if array is None:
                        raise ValueError("the header can't be true, or an update was given up")
                    return array, version
                self.retries += 1
            elif version % 2 == 0:
                time.sleep(0.001)
        raise TimeoutError(f"no whole tensor after version {after} in {timeout} s")

    def _copy(self) -> np.ndarray | None:
        """What is there now, which may be torn; None if it can't be a tensor."""
        ndim, dtype = np.frombuffer(self._memory, np.uint32, 2, 64)
        if ndim > 8 or dtype >= len(DTYPES):
            return None
        shape = [int(n) for n in np.frombuffer(self._memory, np.uint64, int(ndim), 72)]
        count, size = 1, DTYPES[dtype].itemsize
        for n in shape:
            count *= n
        length = int(np.frombuffer(self._memory, np.uint64, 1, 136)[0])
        if count * size != length or length > len(self._memory) - DATA:
            return None
        if count == 0:
            return np.empty(shape, DTYPES[dtype])
        return np.frombuffer(self._memory, DTYPES[dtype], count, DATA).reshape(shape).copy()


def main() -> None:
    if len(sys.argv) != 2:
        sys.exit("usage: python read_segment.py NAME")
    segment = SegmentReader(sys.argv[1])
    version = 0
    try:
        while True:
            array, version = segment.read(after=version, timeout=60)
            print(f"version {version}: {list(array.shape)} {array.dtype}, mean {array.mean():.3f}", flush=True)
    except KeyboardInterrupt:
        pass


if __name__ == "__main__":
    main()

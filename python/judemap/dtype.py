"""Element types: judemap's numbers for them, and NumPy's."""

from __future__ import annotations

import enum
from typing import TypeAlias

import numpy as np
import numpy.typing as npt

from .errors import DTypeError


class DType(enum.IntEnum):
    """The type of a tensor's elements. Its numbers are those of the segment header."""

    FLOAT32 = 0
    FLOAT64 = 1
    INT32 = 2
    INT64 = 3
    UINT8 = 4
    INT8 = 5
    UINT16 = 6
    INT16 = 7
    BOOL = 8
    FLOAT16 = 9
    BFLOAT16 = 10
    UINT32 = 11
    UINT64 = 12
    FLOAT8_E4M3FN = 13
    FLOAT8_E5M2 = 14
    COMPLEX64 = 15

    def __str__(self) -> str:
        """The name, as in "float32"."""
        return _NAME_OF[self]

    @property
    def itemsize(self) -> int:
        """Bytes of one element."""
        return self.bits.itemsize

    @property
    def bits(self) -> np.dtype[np.generic]:
        """NumPy's type; for bfloat16 and float8, which NumPy has none for, the unsigned integer of the same size."""
        return _BITS[self]

    @property
    def numpy(self) -> np.dtype[np.generic]:
        """NumPy's type, or ml_dtypes' where NumPy has none. Raises DTypeError if ml_dtypes is needed and not there."""
        known = _NUMPY.get(self)
        if known is None:
            try:
                import ml_dtypes
            except ImportError:
                raise DTypeError(
                    f"NumPy has no {self} by itself: pip install ml_dtypes, or take the bits, as {self.bits}"
                ) from None
            known = _NUMPY[self] = np.dtype(getattr(ml_dtypes, str(self)))
        return known

    @classmethod
    def of(cls, dtype: DTypeLike) -> DType:
        """The element type for a NumPy type, a name or a DType. Raises DTypeError for one that judemap doesn't have.

        A NumPy type of another byte order is the same element type.
        """
        if isinstance(dtype, DType):
            return dtype
        if isinstance(dtype, str) and dtype in _NAMES:
            return _NAMES[dtype]
        try:
            numpy = np.dtype(dtype)
        except TypeError:
            name = repr(dtype)
        else:
            if (known := _KNOWN.get(numpy)) is not None:
                return known
            name = numpy.name  # that of another byte order is the same
            if name in _NAMES:
                return _KNOWN.setdefault(numpy, _NAMES[name])
        raise DTypeError(f"there is no element type {name}; there are {', '.join(_NAMES)}")


DTypeLike: TypeAlias = "DType | npt.DTypeLike"

BY_NUMBER = tuple(DType)
_NAME_OF = [dtype.name.lower() for dtype in DType]
_NAMES = dict(zip(_NAME_OF, DType, strict=True))
_UNSIGNED: dict[DType, np.dtype[np.generic]] = {
    DType.BFLOAT16: np.dtype(np.uint16),
    DType.FLOAT8_E4M3FN: np.dtype(np.uint8),
    DType.FLOAT8_E5M2: np.dtype(np.uint8),
}
_BITS: dict[DType, np.dtype[np.generic]] = {dtype: _UNSIGNED.get(dtype) or np.dtype(str(dtype)) for dtype in DType}
_KNOWN: dict[np.dtype[np.generic], DType] = {}
# ml_dtypes is loaded when it is first needed.
_NUMPY: dict[DType, np.dtype[np.generic]] = {d: b for d, b in _BITS.items() if d not in _UNSIGNED}

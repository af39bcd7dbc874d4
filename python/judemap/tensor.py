"""Tensors, which reading returns."""

from __future__ import annotations

import ctypes
import operator
from collections.abc import Sequence
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from ._core import MAX_DIMS, CTensor
from .dtype import BY_NUMBER, DType
from .errors import CapacityError, DTypeError, ShapeError


class Source(Protocol):
    """Where a tensor's elements are."""

    def view(self, tensor: CTensor, dtype: np.dtype[np.generic], writable: bool) -> npt.NDArray[Any]:
        """The elements as an array, which keeps what it needs."""

    def valid(self, tensor: CTensor) -> bool:
        """Whether the elements are still that tensor's."""


class Tensor:
    """One consistent state of a segment, or a frame of a stream: a view of its memory, or a copy.

    It can be given to NumPy (`np.asarray`) and to libraries that accept DLPack (`torch.from_dlpack`).
    """

    __slots__ = ("_array", "_source", "_tensor")

    def __init__(self, tensor: CTensor, source: Source) -> None:
        self._tensor = tensor
        self._source = source
        self._array: npt.NDArray[Any] | None = None

    @property
    def shape(self) -> tuple[int, ...]:
        """The dimensions, in elements."""
        return tuple(self._tensor.shape[: self._tensor.ndim])

    @property
    def dtype(self) -> DType:
        """The element type."""
        return BY_NUMBER[int(self._tensor.dtype)]

    @property
    def version(self) -> int:
        """The segment's sequence number at the time of the read: even, 2 more for each commit."""
        return int(self._tensor.version)

    @property
    def nbytes(self) -> int:
        """Bytes of all elements."""
        return int(self._tensor.byte_length)

    @property
    def address(self) -> int:
        """The address of the first element. It may be used as long as the Tensor, or an array of it, exists."""
        return int(self._tensor.data or 0)

    @property
    def array(self) -> npt.NDArray[Any]:
        """The elements as a NumPy array, without a copy. That of a view or a frame is read-only.

        Raises DTypeError for bfloat16 and float8 where ml_dtypes is not installed; `bits` works there.
        """
        if self._array is None:
            dtype = self.dtype
            numpy, bits = dtype.numpy, dtype.bits
            array = self._source.view(self._tensor, bits, False)
            self._array = array if numpy is bits else array.view(numpy)
        return self._array

    @property
    def bits(self) -> npt.NDArray[Any]:
        """Like `array`, but with bfloat16 as uint16, and float8 as uint8."""
        return self._source.view(self._tensor, self.dtype.bits, False)

    def valid(self) -> bool:
        """Whether the elements are still this tensor's. Ask after using a view.

        Only if it is true was all that was seen in a view one whole tensor. A copy is always valid. A frame is valid as
        long as it is held.
        """
        return self._source.valid(self._tensor)

    def __array__(self, dtype: npt.DTypeLike | None = None, copy: bool | None = None) -> npt.NDArray[Any]:
        array = self.array
        if dtype is not None and np.dtype(dtype) != array.dtype:
            if copy is False:
                raise ValueError(f"{self!r} can't be had as {np.dtype(dtype)} without a copy")
            return array.astype(dtype)
        return array.copy() if copy else array

    def __dlpack_device__(self) -> tuple[int, int]:
        """The CPU."""
        return (1, 0)

    def __dlpack__(
        self,
        *,
        stream: object = None,
        max_version: tuple[int, int] | None = None,
        dl_device: tuple[int, int] | None = None,
        copy: bool | None = None,
    ) -> Any:
        """The elements for a library that takes DLPack, without a copy unless it asks for one.

        A library that knows DLPack 1.0, as NumPy from 2.1 does, is told that a view or frame is read-only. DLPack
        before that has no way to say so: such a library gets a tensor that it could write to, and must not.
        """
        if stream is not None:
            raise BufferError("a tensor in the memory of the CPU has no stream")
        if dl_device is not None and tuple(dl_device) != self.__dlpack_device__():
            raise BufferError(f"a tensor in the memory of the CPU can't be exported to device {tuple(dl_device)}")
        dtype = self.dtype
        # NumPy before 2.1 makes capsules of the old form only, which is what it may do when asked for the new one.
        new_form = max_version is not None and max_version[0] >= 1 and _NUMPY_KNOWS_DLPACK_1
        bits = self._source.view(self._tensor, dtype.bits, not new_form)
        if dtype == DType.BOOL:
            bits = bits.view(np.uint8)  # NumPy before 1.25 doesn't export bool
        if copy:
            bits = bits.copy()
        capsule = bits.__dlpack__(max_version=max_version) if new_form else bits.__dlpack__()
        if dtype in _DLPACK_CODES:
            _set_dlpack_code(capsule, _DLPACK_CODES[dtype])
        return capsule

    def __repr__(self) -> str:
        return f"<judemap {type(self).__name__} {list(self.shape)} {self.dtype}, version {self.version}>"


class Copy:
    """The Source of a tensor in memory of its own."""

    __slots__ = ("_bytes",)

    def __init__(self, bytes_: npt.NDArray[np.uint8]) -> None:
        self._bytes = bytes_

    def view(self, tensor: CTensor, dtype: np.dtype[np.generic], writable: bool) -> npt.NDArray[Any]:
        return np.ndarray(tensor.shape[: tensor.ndim], dtype, self._bytes)

    def valid(self, tensor: CTensor) -> bool:
        return True


def byte_view(out: npt.NDArray[Any]) -> npt.NDArray[np.uint8]:
    """The bytes of an array that a tensor is to be copied into. Raises ValueError for one that can't take it."""
    if not out.flags.c_contiguous or not out.flags.writeable:
        raise ValueError("out must be a C-contiguous array that can be written to")
    return out.reshape(-1).view(np.uint8)


def described(shape: int | Sequence[int], dtype: DType, capacity: int) -> tuple[tuple[int, ...], int]:
    """A shape, and its bytes, of a tensor that is to be written.

    Errors with numbers, for what the core would refuse without: ShapeError, CapacityError.
    """
    whole = tuple(map(operator.index, shape if isinstance(shape, Sequence) else (shape,)))
    if len(whole) > MAX_DIMS:
        raise ShapeError(f"the shape {list(whole)} has {len(whole)} dimensions; a tensor has {MAX_DIMS} at most")
    size = dtype.itemsize
    for n in whole:
        if n < 0:
            raise ShapeError(f"the shape {list(whole)} has a negative dimension")
        size *= n
        if size >= 1 << 63 or n >= 1 << 63:
            raise ShapeError(f"the shape {list(whole)} of {dtype} overflows")
    if size > capacity:
        raise CapacityError(f"a tensor {list(whole)} of {dtype} has {size} bytes, and there is room for {capacity}")
    return whole, size


def to_write(array: npt.ArrayLike, bits: DType | None) -> tuple[npt.NDArray[Any], DType]:
    """An array as it is in memory of a segment: row-major and little-endian. Copies it if it is not."""
    whole = np.asarray(array)
    if bits is None:
        dtype = DType.of(whole.dtype)
    else:
        dtype = bits
        if whole.dtype.kind != "u" or whole.dtype.itemsize != dtype.itemsize:
            raise DTypeError(
                f"the bits of {dtype} are unsigned integers of {dtype.itemsize} bytes, and the array is {whole.dtype}"
            )
    if not whole.flags.c_contiguous or not whole.dtype.isnative:
        whole = whole.astype(whole.dtype.newbyteorder("="), order="C")
    return whole, dtype


def data_address(array: npt.NDArray[Any]) -> int:
    """Where an array's elements are."""
    return int(array.__array_interface__["data"][0])


# ---- DLPack ----------------------------------------------------------------------------------------------------------
#
# NumPy exports arrays, and owns what the capsule needs until the consumer is done, on whatever thread and however late.
# It knows no bfloat16 and float8, and before 1.25 no bool. Those are exported as unsigned integers of their size, and
# the type in the capsule's struct is then set to what it is.

_NUMPY_KNOWS_DLPACK_1 = tuple(int(n) for n in np.__version__.split(".")[:2]) >= (2, 1)

# DLDataTypeCode
_DLPACK_CODES = {DType.BOOL: 6, DType.BFLOAT16: 4, DType.FLOAT8_E4M3FN: 10, DType.FLOAT8_E5M2: 12}


class _DLTensor(ctypes.Structure):
    _fields_ = (
        ("data", ctypes.c_void_p),
        ("device_type", ctypes.c_int32),
        ("device_id", ctypes.c_int32),
        ("ndim", ctypes.c_int32),
        ("code", ctypes.c_uint8),
        ("bits", ctypes.c_uint8),
        ("lanes", ctypes.c_uint16),
        ("shape", ctypes.c_void_p),
        ("strides", ctypes.c_void_p),
        ("byte_offset", ctypes.c_uint64),
    )


class _DLManagedTensorVersioned(ctypes.Structure):
    """What a capsule of DLPack 1 has; one of the old form begins with the tensor."""

    _fields_ = (
        ("major", ctypes.c_uint32),
        ("minor", ctypes.c_uint32),
        ("manager_ctx", ctypes.c_void_p),
        ("deleter", ctypes.c_void_p),
        ("flags", ctypes.c_uint64),
        ("tensor", _DLTensor),
    )


_capsule_name = ctypes.pythonapi.PyCapsule_GetName
_capsule_name.restype, _capsule_name.argtypes = ctypes.c_char_p, (ctypes.py_object,)
_capsule_pointer = ctypes.pythonapi.PyCapsule_GetPointer
_capsule_pointer.restype, _capsule_pointer.argtypes = ctypes.c_void_p, (ctypes.py_object, ctypes.c_char_p)


def _set_dlpack_code(capsule: object, code: int) -> None:
    name = _capsule_name(capsule)
    address = _capsule_pointer(capsule, name)
    if name == b"dltensor_versioned":
        _DLManagedTensorVersioned.from_address(address).tensor.code = code
    else:
        _DLTensor.from_address(address).code = code

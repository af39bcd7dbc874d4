"""PyTorch takes frames and segments without a copy. A script, for a Python that has PyTorch and perhaps no pytest."""

from __future__ import annotations

import os
import warnings

import numpy as np
import torch

import judemap
from judemap import DType


def main() -> None:
    name = f"judemap-torch-{os.getpid()}"
    with judemap.create_stream(name, slots=4, capacity=1 << 20) as stream, stream.reader() as reader:
        judemap.remove(name)

        # A frame as a tensor, in place.
        stream.write(np.arange(6, dtype=np.float32).reshape(2, 3))
        frame = reader.next()
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", UserWarning)  # the array is read-only, and a torch.Tensor can't say so
            from_numpy = torch.from_numpy(frame.array)
        from_dlpack = torch.from_dlpack(frame)
        assert from_numpy.data_ptr() == from_dlpack.data_ptr() == frame.address
        assert from_numpy.sum() == from_dlpack.sum() == 15

        # A tensor keeps the frame that it shows, until the reader's next one, or past it if the frame was kept.
        kept = torch.from_dlpack(frame.keep())
        del frame, from_numpy, from_dlpack
        for i in range(10):
            stream.fill((2, 3), "float32", i)
            reader.next()
        assert kept.sum() == 15 and stream.readers()[0].held == 2
        del kept
        assert stream.readers()[0].held == 1

        # A tensor as the next frame: copied from where it is, or computed into the slot.
        stream.write(torch.full((4,), 2.5))
        assert reader.next().array.tolist() == [2.5] * 4
        with stream.update((4,), np.float32) as array:
            torch.mul(torch.arange(4.0), 2, out=torch.from_numpy(array))
        assert reader.next().array.tolist() == [0, 2, 4, 6]

        # The element types that PyTorch has.
        taken = []
        for dtype in DType:
            stream.fill((2, 2), dtype, 1)
            frame = reader.next()
            try:
                tensor = torch.from_dlpack(frame)
            except (BufferError, RuntimeError, TypeError) as error:
                print(f"{dtype}: not in this PyTorch: {str(error).splitlines()[0]}")
                continue
            assert str(tensor.dtype) == f"torch.{dtype}", (tensor.dtype, dtype)
            assert tensor.data_ptr() == frame.address and (tensor == 1).all()
            taken.append(str(dtype))
        assert {"float32", "float16", "bfloat16", "uint8", "int64"} <= set(taken), taken

        # A tensor outlives the stream: zeros.
        stream.write(np.ones(3))
        last = torch.from_dlpack(reader.next().keep())
        stream.close()
        assert last.sum() == 0
    print(f"PyTorch {torch.__version__}, NumPy {np.__version__}: {', '.join(taken)}")


if __name__ == "__main__":
    main()

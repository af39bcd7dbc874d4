// torch::Tensor over a frame of judemap, with the pointer kept. Copy this file.
#ifndef JUDEMAP_EXAMPLES_TENSOR_H
#define JUDEMAP_EXAMPLES_TENSOR_H

#include <judemap/stream.h>
#include <torch/torch.h>

#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <utility>

// A stream that is read, and its reader. It is shared with the tensors over its frames, so that it outlives them.
struct Source {
  judemap::Stream stream;
  judemap::Reader reader;
};

// LibTorch's type for an element type; none for uint16, uint32, uint64 and the 8-bit floats, which LibTorch 1.13 lacks.
inline std::optional<torch::ScalarType> scalar_type(std::uint32_t dtype) {
  switch (dtype) {
    case JM_FLOAT32:
      return torch::kFloat32;
    case JM_FLOAT64:
      return torch::kFloat64;
    case JM_INT32:
      return torch::kInt32;
    case JM_INT64:
      return torch::kInt64;
    case JM_UINT8:
      return torch::kUInt8;
    case JM_INT8:
      return torch::kInt8;
    case JM_INT16:
      return torch::kInt16;
    case JM_BOOL:
      return torch::kBool;
    case JM_FLOAT16:
      return torch::kFloat16;
    case JM_BFLOAT16:
      return torch::kBFloat16;
    case JM_COMPLEX64:
      return torch::kComplexFloat;
    default:
      return std::nullopt;
  }
}

// A tensor of `data`, which must be held (a frame) or begun (a slot that is written to) for as long as it is used. The
// type must be one that LibTorch has. `gone` is called when the last tensor that shares the memory is gone.
inline torch::Tensor tensor_over(
    void* data, const std::uint64_t* shape, std::uint32_t ndim, std::uint32_t dtype,
    const std::function<void(void*)>& gone = [](void*) {}) {
  std::int64_t sizes[JM_MAX_DIMS];
  for (std::uint32_t i = 0; i < ndim; ++i) sizes[i] = static_cast<std::int64_t>(shape[i]);
  return torch::from_blob(data, torch::IntArrayRef(sizes, ndim), gone, torch::TensorOptions(*scalar_type(dtype)));
}

// A tensor of a frame of `source`. The frame's slot is given back when the last tensor that shares its memory is gone,
// on whatever thread that is: views, slices, and what autograd saved. A tensor is not to be written to: others read the
// frame too. std::nullopt: LibTorch has no such type; the frame stays the caller's.
inline std::optional<torch::Tensor> tensor_of(judemap::Frame* frame, std::shared_ptr<Source> source) {
  const jm_tensor tensor = **frame;
  if (!scalar_type(tensor.dtype)) return std::nullopt;
  // std::function wants what can be copied.
  auto held = std::make_shared<judemap::Frame>(std::move(*frame));
  return tensor_over(const_cast<void*>(tensor.data), tensor.shape, tensor.ndim, tensor.dtype,
                     [held, source](void*) { held->release(); });
}

#endif  // JUDEMAP_EXAMPLES_TENSOR_H

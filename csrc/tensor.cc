//go:build ignore
// (For the go command: this file is compiled as a part of judemap_core.cc, never by itself.)

#include "tensor.h"

#include "dtype.h"

namespace judemap {
namespace {

// Stores a * b in *product. Returns false if that overflows.
bool multiply(std::uint64_t a, std::uint64_t b, std::uint64_t* product) noexcept {
#ifdef __GNUC__
  return !__builtin_mul_overflow(a, b, product);
#else
  *product = a * b;
  return a == 0 || *product / a == b;
#endif
}

}  // namespace

bool tensor_bytes(const std::uint64_t* shape, std::uint32_t ndim, std::uint32_t dtype, std::uint64_t* bytes) noexcept {
  bool fits = true;
  bool empty = false;
  std::uint64_t product = item_size(dtype);
  for (std::uint32_t i = 0; i < ndim; ++i) {
    if (shape[i] > INT64_MAX) return false;
    empty = empty || shape[i] == 0;
    fits = multiply(product, shape[i], &product) && fits;
  }
  *bytes = empty ? 0 : product;
  return empty || (fits && product <= INT64_MAX);
}

const char* corrupt_field(const Metadata& metadata, std::uint64_t capacity) noexcept {
  if (metadata.none()) return nullptr;
  if (metadata.ndim > JM_MAX_DIMS) return "ndim";
  if (item_size(metadata.dtype) == 0) return "dtype";
  std::uint64_t bytes;
  if (!tensor_bytes(metadata.shape, metadata.ndim, metadata.dtype, &bytes)) return "shape";
  if (bytes != metadata.byte_length || bytes > capacity) return "byte_length";
  return nullptr;
}

jm_status describe(const std::uint64_t* shape, std::uint32_t ndim, std::uint32_t dtype, std::uint64_t capacity,
                   Metadata* metadata) noexcept {
  if (item_size(dtype) == 0) return JM_ERR_DTYPE;
  if (ndim > JM_MAX_DIMS) return JM_ERR_SHAPE;
  if (shape == nullptr && ndim != 0) return JM_ERR_ARGUMENT;
  metadata->ndim = ndim;
  metadata->dtype = dtype;
  for (std::uint32_t i = 0; i < ndim; ++i) metadata->shape[i] = shape[i];
  if (!tensor_bytes(metadata->shape, ndim, dtype, &metadata->byte_length)) return JM_ERR_SHAPE;
  return metadata->byte_length > capacity ? JM_ERR_CAPACITY : JM_OK;
}

}  // namespace judemap

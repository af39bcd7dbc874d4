//go:build ignore
// (For the go command: this file is compiled as a part of judemap_core.cc, never by itself.)
//
// The C interface: a thin skin over judemap::Segment. The core is noexcept throughout, so nothing can be thrown
// across.

#include <cerrno>
#include <new>

#include "judemap/judemap.h"
#include "judemap/segment.h"

struct jm_segment final : judemap::Segment {};

extern "C" {

const char* jm_strerror(int status) {
  switch (status) {
    case JM_OK:
      return "no error";
    case JM_ERR_EMPTY:
      return "the segment holds no tensor";
    case JM_ERR_BUSY:
      return "a commit is in progress";
    case JM_ERR_CLOSED:
      return "the segment is closed";
    case JM_ERR_CAPACITY:
      return "the size is zero, too large, or more than the segment's capacity";
    case JM_ERR_SHAPE:
      return "the rank is above 8, the shape overflows, or the data's length differs from it";
    case JM_ERR_DTYPE:
      return "the element type is unknown";
    case JM_ERR_RANGE:
      return "the element type can't hold the value";
    case JM_ERR_CORRUPT:
      return "the segment's header can't be true";
    case JM_ERR_BUFFER:
      return "the buffer is smaller than the tensor";
    case JM_ERR_PIN_DENIED:
      return "the system refused to lock the pages; raise the limit that `ulimit -l` shows";
    case JM_ERR_SYSTEM:
      return "the system refused; errno says why";
    case JM_ERR_ARGUMENT:
      return "a null pointer, or a call out of order";
  }
  return "unknown status";
}

size_t jm_item_size(uint32_t dtype) { return judemap::item_size(dtype); }

jm_status jm_new(uint64_t capacity, uint32_t flags, jm_segment** out) {
  if (out == nullptr) return JM_ERR_ARGUMENT;
  *out = nullptr;
  auto* segment = new (std::nothrow) jm_segment;
  if (segment == nullptr) {
    errno = ENOMEM;
    return JM_ERR_SYSTEM;
  }
  const jm_status status = segment->create(capacity, flags);
  if (status == JM_OK) {
    *out = segment;
  } else {
    const int error = errno;
    delete segment;
    errno = error;
  }
  return status;
}

jm_status jm_retire(jm_segment* segment) { return segment->retire(); }

void jm_free(jm_segment* segment) { delete segment; }

jm_status jm_write(jm_segment* segment, const uint64_t* shape, uint32_t ndim, uint32_t dtype, const void* data,
                   uint64_t length) {
  return segment->write(shape, ndim, dtype, data, length);
}

jm_status jm_fill(jm_segment* segment, const uint64_t* shape, uint32_t ndim, uint32_t dtype, double value) {
  return segment->fill(shape, ndim, dtype, value);
}

jm_status jm_begin(jm_segment* segment, const uint64_t* shape, uint32_t ndim, uint32_t dtype, void** data,
                   uint64_t* length) {
  return segment->begin(shape, ndim, dtype, data, length);
}

void jm_commit(jm_segment* segment) { segment->commit(); }

void jm_abort(jm_segment* segment) { segment->abort(); }

jm_status jm_read(jm_segment* segment, jm_tensor* out) { return segment->read(out); }

jm_status jm_try_read(const jm_segment* segment, jm_tensor* out) { return segment->try_read(out); }

int jm_valid(const jm_segment* segment, const jm_tensor* tensor) { return segment->valid(*tensor); }

jm_status jm_read_into(jm_segment* segment, void* buffer, uint64_t size, jm_tensor* out) {
  return segment->read_into(buffer, size, out);
}

jm_status jm_try_read_into(const jm_segment* segment, void* buffer, uint64_t size, jm_tensor* out) {
  return segment->try_read_into(buffer, size, out);
}

const char* jm_corrupt_field(const jm_segment* segment, const jm_tensor* tensor) {
  judemap::Metadata metadata;
  metadata.ndim = tensor->ndim;
  metadata.dtype = tensor->dtype;
  for (int i = 0; i < JM_MAX_DIMS; ++i) metadata.shape[i] = tensor->shape[i];
  metadata.byte_length = tensor->byte_length;
  return judemap::corrupt_field(metadata, segment->capacity());
}

uint64_t jm_version(const jm_segment* segment) { return segment->version(); }

uint64_t jm_capacity(const jm_segment* segment) { return segment->capacity(); }

struct jm_header* jm_base(const jm_segment* segment) { return segment->header(); }

jm_status jm_pin(jm_segment* segment) { return segment->pin(); }

void jm_unpin(jm_segment* segment) { segment->unpin(); }

int jm_is_pinned(const jm_segment* segment) { return segment->is_pinned(); }

}  // extern "C"

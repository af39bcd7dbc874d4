//go:build ignore
// (For the go command: this file is compiled as a part of judemap_core.cc, never by itself.)
//
// The C interface. It only calls the classes behind it. All of the core is noexcept, so no exception can reach C.

#include <cerrno>
#include <new>

#include "dtype.h"
#include "judemap/judemap.h"
#include "judemap/parker.h"
#include "judemap/segment.h"
#include "judemap/stream.h"
#include "memory.h"
#include "share.h"
#include "stat.h"

struct jm_segment final : judemap::Segment {};
struct jm_stream final : judemap::Stream {};
struct jm_reader final : judemap::Reader {};
struct jm_parker final : judemap::Parker {};
struct jm_watch final : judemap::Parker::Watch {};
struct jm_list final : judemap::share::Names {};

namespace {

// jm_mapping is the name of judemap::Mapping in C.
jm_mapping* handle_of(judemap::Mapping& mapping) { return reinterpret_cast<jm_mapping*>(&mapping); }
judemap::Mapping& of(jm_mapping* handle) { return *reinterpret_cast<judemap::Mapping*>(handle); }
const judemap::Mapping& of(const jm_mapping* handle) { return *reinterpret_cast<const judemap::Mapping*>(handle); }

// Makes an object for a handle. If `make` succeeds with it, the caller gets the handle.
template <class Handle, class Make>
jm_status make_handle(Handle** out, Make&& make) noexcept {
  if (out == nullptr) return JM_ERR_ARGUMENT;
  *out = nullptr;
  auto* handle = new (std::nothrow) Handle;
  if (handle == nullptr) {
    errno = ENOMEM;
    return JM_ERR_SYSTEM;
  }
  const jm_status status = make(*handle);
  if (status == JM_OK) {
    *out = handle;
  } else {
    const int error = errno;  // calls in the destructor may change errno
    delete handle;
    errno = error;
  }
  return status;
}

}  // namespace

extern "C" {

const char* jm_strerror(int status) {
  switch (status) {
    case JM_OK:
      return "no error";
    case JM_ERR_EMPTY:
      return "the segment or stream holds no tensor";
    case JM_ERR_BUSY:
      return "a commit is in progress";
    case JM_ERR_CLOSED:
      return "the segment or stream is closed";
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
    case JM_ERR_NAME:
      return "a name has 1 to 255 bytes and no slash, and is not \".\" or \"..\"";
    case JM_ERR_READ_ONLY:
      return "the segment or stream was opened read-only";
    case JM_ERR_WRITER_ACTIVE:
      return "another process, or another handle, is the writer";
    case JM_ERR_WRITER_DIED:
      return "the writer died";
    case JM_ERR_TIMEOUT:
      return "nothing was committed in time";
    case JM_ERR_FORKED:
      return "a forked child can only read through its parent's handle; open the segment anew";
    case JM_ERR_NO_SLOT:
      return "no slot of the stream is free: readers hold them, or have yet to take what is in them";
    case JM_ERR_NO_PLACE:
      return "the stream has as many readers as it can have";
    case JM_ERR_NO_PROC:
      return "/proc is not mounted, by which a segment's file is named and opened anew";
    case JM_ERR_UNSUPPORTED:
      return "this machine can't do it";
    case JM_ERR_CUDA:
      return "the CUDA driver refused";
  }
  return "unknown status";
}

const char* jm_library_version(void) { return JUDEMAP_VERSION; }

jm_reason jm_errno_reason(int error) {
  static constexpr struct {
    int error;
    jm_reason reason;
  } kReasons[] = {
      {ENOSYS, JM_REASON_UNSUPPORTED},
      {EEXIST, JM_REASON_EXISTS},
      {ENOENT, JM_REASON_NOT_EXIST},
      {EACCES, JM_REASON_ACCESS},
      {EPERM, JM_REASON_NOT_PERMITTED},
      {ENOMEM, JM_REASON_NO_MEMORY},
      {ENOSPC, JM_REASON_NO_SPACE},
      {EINVAL, JM_REASON_INVALID},
      {EAGAIN, JM_REASON_AGAIN},
      {EBUSY, JM_REASON_BUSY},
      {ELOOP, JM_REASON_LINK},
      {EBADF, JM_REASON_DESCRIPTOR},
      {EMFILE, JM_REASON_DESCRIPTORS},
      {EIO, JM_REASON_INPUT_OUTPUT},
      {EFBIG, JM_REASON_TOO_LARGE},
      {ENAMETOOLONG, JM_REASON_NAME_TOO_LONG},
      {ENOTSUP, JM_REASON_NOT_SUPPORTED},
  };
  for (const auto& known : kReasons) {
    if (known.error == error) return known.reason;
  }
  return JM_REASON_OTHER;
}

size_t jm_item_size(uint32_t dtype) { return judemap::item_size(dtype); }

const char* jm_dtype_name(uint32_t dtype) {
  switch (dtype) {
#define JM_DTYPE_NAME(suffix, number, name, bytes, type) \
  case JM_##suffix:                                      \
    return name;
    JM_DTYPES(JM_DTYPE_NAME)
#undef JM_DTYPE_NAME
  }
  return nullptr;
}

jm_status jm_tensor_bytes(const uint64_t* shape, uint32_t ndim, uint32_t dtype, uint64_t* bytes) {
  if (bytes == nullptr || (shape == nullptr && ndim != 0)) return JM_ERR_ARGUMENT;
  if (judemap::item_size(dtype) == 0) return JM_ERR_DTYPE;
  if (ndim > JM_MAX_DIMS) return JM_ERR_SHAPE;
  return judemap::tensor_bytes(shape, ndim, dtype, bytes) ? JM_OK : JM_ERR_SHAPE;
}

uint64_t jm_physical_memory(void) { return judemap::memory::physical(); }

jm_status jm_new(uint64_t capacity, uint32_t flags, jm_segment** out) {
  return make_handle(out, [&](jm_segment& segment) { return segment.create(capacity, flags); });
}

jm_status jm_create(const char* name, uint64_t capacity, uint32_t mode, uint32_t flags, jm_segment** out) {
  return make_handle(out, [&](jm_segment& segment) { return segment.create(name, capacity, mode, flags); });
}

jm_status jm_create_sealed(uint64_t capacity, uint32_t flags, jm_segment** out) {
  return make_handle(out, [&](jm_segment& segment) { return segment.create_sealed(capacity, flags); });
}

jm_status jm_open(const char* name, uint32_t flags, jm_segment** out, const char** why) {
  return make_handle(out, [&](jm_segment& segment) { return segment.open(name, flags, why); });
}

jm_status jm_open_descriptor(int descriptor, uint32_t flags, jm_segment** out, const char** why) {
  return make_handle(out, [&](jm_segment& segment) { return segment.open(descriptor, flags, why); });
}

jm_status jm_descriptor(jm_segment* segment, int writable, int* out) {
  if (segment == nullptr || out == nullptr) return JM_ERR_ARGUMENT;
  return segment->descriptor(writable != 0, out);
}

jm_status jm_list_new(jm_list** out) {
  return make_handle(out, [](jm_list& list) {
    errno = list.open();
    return errno == 0 ? JM_OK : JM_ERR_SYSTEM;
  });
}

const char* jm_list_next(jm_list* list) {
  if (list == nullptr) return nullptr;
  alignas(jm_header) unsigned char first[sizeof(jm_header)];
  while (const char* name = list->next(first, sizeof first)) {
    const std::uint32_t magic = reinterpret_cast<const jm_header*>(first)->magic.load(std::memory_order_relaxed);
    if (magic == JM_MAGIC || magic == JM_STREAM_MAGIC) return name;
  }
  return nullptr;
}

void jm_list_free(jm_list* list) { delete list; }

jm_status jm_remove(const char* name) { return judemap::Segment::remove(name); }

jm_status jm_retire(jm_segment* segment) { return segment == nullptr ? JM_ERR_ARGUMENT : segment->retire(); }

void jm_free(jm_segment* segment) { delete segment; }

jm_status jm_write(jm_segment* segment, const uint64_t* shape, uint32_t ndim, uint32_t dtype, const void* data,
                   uint64_t length) {
  return segment == nullptr ? JM_ERR_ARGUMENT : segment->write(shape, ndim, dtype, data, length);
}

jm_status jm_fill(jm_segment* segment, const uint64_t* shape, uint32_t ndim, uint32_t dtype, double value) {
  return segment == nullptr ? JM_ERR_ARGUMENT : segment->fill(shape, ndim, dtype, value);
}

jm_status jm_begin(jm_segment* segment, const uint64_t* shape, uint32_t ndim, uint32_t dtype, void** data,
                   uint64_t* length) {
  return segment == nullptr ? JM_ERR_ARGUMENT : segment->begin(shape, ndim, dtype, data, length);
}

jm_status jm_commit(jm_segment* segment) { return segment == nullptr ? JM_ERR_ARGUMENT : segment->commit(); }

jm_status jm_abort(jm_segment* segment) { return segment == nullptr ? JM_ERR_ARGUMENT : segment->abort(); }

jm_status jm_read(jm_segment* segment, jm_tensor* out) {
  return segment == nullptr || out == nullptr ? JM_ERR_ARGUMENT : segment->read(out);
}

jm_status jm_next(jm_segment* segment, uint64_t after, int64_t timeout, jm_tensor* out) {
  return segment == nullptr || out == nullptr ? JM_ERR_ARGUMENT : segment->next(after, timeout, out);
}

jm_status jm_try_read(const jm_segment* segment, jm_tensor* out) {
  return segment == nullptr || out == nullptr ? JM_ERR_ARGUMENT : segment->try_read(out);
}

int jm_valid(const jm_segment* segment, const jm_tensor* tensor) {
  return segment != nullptr && tensor != nullptr && segment->valid(*tensor);
}

jm_status jm_read_into(jm_segment* segment, void* buffer, uint64_t size, jm_tensor* out) {
  if (segment == nullptr || out == nullptr || (buffer == nullptr && size != 0)) return JM_ERR_ARGUMENT;
  return segment->read_into(buffer, size, out);
}

jm_status jm_try_read_into(const jm_segment* segment, void* buffer, uint64_t size, jm_tensor* out) {
  if (segment == nullptr || out == nullptr || (buffer == nullptr && size != 0)) return JM_ERR_ARGUMENT;
  return segment->try_read_into(buffer, size, out);
}

const char* jm_corrupt_field(const jm_segment* segment, const jm_tensor* tensor) {
  if (segment == nullptr || tensor == nullptr) return nullptr;
  judemap::Metadata metadata;
  metadata.ndim = tensor->ndim;
  metadata.dtype = tensor->dtype;
  for (int i = 0; i < JM_MAX_DIMS; ++i) metadata.shape[i] = tensor->shape[i];
  metadata.byte_length = tensor->byte_length;
  return judemap::corrupt_field(metadata, segment->capacity());
}

uint64_t jm_version(const jm_segment* segment) { return segment == nullptr ? 0 : segment->version(); }

jm_writer jm_writer_state(const jm_segment* segment) { return segment == nullptr ? JM_WRITER_NONE : segment->writer(); }

void jm_set_poll(jm_segment* segment, int64_t nanoseconds) {
  if (segment != nullptr) segment->set_poll(nanoseconds);
}

void jm_set_threads(jm_segment* segment, unsigned threads) {
  if (segment != nullptr) segment->protocol().set_threads(threads);
}

void jm_get_stats(const jm_segment* segment, jm_stats* out) {
  if (segment != nullptr && out != nullptr) *out = segment->protocol().stats();
}

uint64_t jm_capacity(const jm_segment* segment) { return segment == nullptr ? 0 : segment->capacity(); }

struct jm_header* jm_base(const jm_segment* segment) { return segment == nullptr ? nullptr : segment->header(); }

jm_status jm_pin(jm_segment* segment) { return segment == nullptr ? JM_ERR_ARGUMENT : segment->pin(); }

void jm_unpin(jm_segment* segment) {
  if (segment != nullptr) segment->unpin();
}

int jm_is_pinned(const jm_segment* segment) { return segment != nullptr && segment->is_pinned(); }

jm_status jm_register_cuda(jm_segment* segment, int device, char* why, size_t size) {
  return segment == nullptr ? JM_ERR_ARGUMENT : segment->register_cuda(device, why, size);
}

jm_status jm_unregister_cuda(jm_segment* segment, char* why, size_t size) {
  return segment == nullptr ? JM_ERR_ARGUMENT : segment->unregister_cuda(why, size);
}

uint64_t jm_device_address(const jm_segment* segment, const void* at) {
  return segment == nullptr ? 0 : segment->device_address(at);
}

jm_status jm_parker_new(jm_parker** out, int* descriptor) {
  return make_handle(out, [&](jm_parker& parker) { return parker.create(descriptor); });
}

void jm_parker_free(jm_parker* parker) { delete parker; }

jm_status jm_watch_new(jm_parker* parker, jm_segment* segment, uint64_t token, jm_watch** out, size_t* lane) {
  return jm_mapping_watch_new(parker, jm_segment_mapping(segment), token, out, lane);
}

jm_status jm_watch_arm(jm_watch* watch, uint64_t seen) {
  return watch == nullptr ? JM_ERR_ARGUMENT : judemap::Parker::arm(watch, seen);
}

void jm_watch_disarm(jm_watch* watch) {
  if (watch != nullptr) judemap::Parker::disarm(watch);
}

void jm_watch_free(jm_watch* watch) {
  if (watch == nullptr) return;
  judemap::Parker::remove(watch);
  delete watch;
}

uint64_t jm_parker_next(jm_parker* parker) { return parker == nullptr ? 0 : parker->next(); }

size_t jm_parker_wait(jm_parker* parker, size_t lane, uint64_t* tokens, size_t capacity) {
  return parker == nullptr || tokens == nullptr || capacity == 0 ? 0 : parker->wait(lane, tokens, capacity);
}

void jm_parker_stop(jm_parker* parker) {
  if (parker != nullptr) parker->stop();
}

size_t jm_parker_threads(jm_parker* parker) { return parker == nullptr ? 0 : parker->threads(); }

jm_status jm_protocol_write(jm_segment* segment, const uint64_t* shape, uint32_t ndim, uint32_t dtype,
                            const uint8_t* data, uint64_t length) {
  return segment == nullptr ? JM_ERR_ARGUMENT : segment->protocol().write(shape, ndim, dtype, data, length);
}

jm_status jm_protocol_fill(jm_segment* segment, const uint64_t* shape, uint32_t ndim, uint32_t dtype, double value) {
  return segment == nullptr ? JM_ERR_ARGUMENT : segment->protocol().fill(shape, ndim, dtype, value);
}

jm_status jm_protocol_begin(jm_segment* segment, const uint64_t* shape, uint32_t ndim, uint32_t dtype, void** data,
                            uint64_t* length) {
  if (segment == nullptr || data == nullptr || length == nullptr) return JM_ERR_ARGUMENT;
  return segment->protocol().begin(shape, ndim, dtype, data, length);
}

jm_status jm_protocol_commit(jm_segment* segment) {
  return segment == nullptr ? JM_ERR_ARGUMENT : segment->protocol().commit();
}

jm_status jm_protocol_abort(jm_segment* segment) {
  return segment == nullptr ? JM_ERR_ARGUMENT : segment->protocol().abort();
}

jm_status jm_protocol_try_read(const jm_segment* segment, jm_tensor* out) {
  return segment == nullptr || out == nullptr ? JM_ERR_ARGUMENT : segment->protocol().try_read(out);
}

jm_status jm_protocol_try_read_into(const jm_segment* segment, uint8_t* buffer, uint64_t size, jm_tensor* out) {
  if (segment == nullptr || out == nullptr || (buffer == nullptr && size != 0)) return JM_ERR_ARGUMENT;
  return segment->protocol().try_read_into(buffer, size, out);
}

jm_status jm_stream_new(uint32_t slots, uint64_t capacity, uint32_t flags, jm_stream** out) {
  return make_handle(out, [&](jm_stream& stream) { return stream.create(slots, capacity, flags); });
}

jm_status jm_stream_create(const char* name, uint32_t slots, uint64_t capacity, uint32_t mode, uint32_t flags,
                           jm_stream** out) {
  return make_handle(out, [&](jm_stream& stream) { return stream.create(name, slots, capacity, mode, flags); });
}

jm_status jm_stream_create_sealed(uint32_t slots, uint64_t capacity, uint32_t flags, jm_stream** out) {
  return make_handle(out, [&](jm_stream& stream) { return stream.create_sealed(slots, capacity, flags); });
}

jm_status jm_stream_open(const char* name, uint32_t flags, jm_stream** out, const char** why) {
  return make_handle(out, [&](jm_stream& stream) { return stream.open(name, flags, why); });
}

jm_status jm_stream_open_descriptor(int descriptor, uint32_t flags, jm_stream** out, const char** why) {
  return make_handle(out, [&](jm_stream& stream) { return stream.open(descriptor, flags, why); });
}

jm_status jm_stream_retire(jm_stream* stream) { return stream == nullptr ? JM_ERR_ARGUMENT : stream->retire(); }

void jm_stream_free(jm_stream* stream) { delete stream; }

jm_mapping* jm_stream_mapping(jm_stream* stream) { return stream == nullptr ? nullptr : handle_of(stream->protocol()); }

uint32_t jm_stream_slots(const jm_stream* stream) { return stream == nullptr ? 0 : stream->protocol().slots(); }

int jm_stream_every_frame(const jm_stream* stream) { return stream != nullptr && stream->protocol().every_frame(); }

struct jm_header* jm_stream_slot(const jm_stream* stream, uint32_t index) {
  return stream == nullptr || index >= stream->protocol().slots() ? nullptr : stream->protocol().slot(index);
}

jm_status jm_stream_register_cuda(jm_stream* stream, int device, char* why, size_t size) {
  return stream == nullptr ? JM_ERR_ARGUMENT : stream->register_cuda(device, why, size);
}

jm_status jm_stream_unregister_cuda(jm_stream* stream, char* why, size_t size) {
  return stream == nullptr ? JM_ERR_ARGUMENT : stream->unregister_cuda(why, size);
}

uint64_t jm_stream_device_address(const jm_stream* stream, const void* at) {
  return stream == nullptr ? 0 : stream->device_address(at);
}

jm_status jm_stream_write(jm_stream* stream, const uint64_t* shape, uint32_t ndim, uint32_t dtype, const void* data,
                          uint64_t length, int64_t timeout) {
  return stream == nullptr ? JM_ERR_ARGUMENT : stream->write(shape, ndim, dtype, data, length, timeout);
}

jm_status jm_stream_fill(jm_stream* stream, const uint64_t* shape, uint32_t ndim, uint32_t dtype, double value,
                         int64_t timeout) {
  return stream == nullptr ? JM_ERR_ARGUMENT : stream->fill(shape, ndim, dtype, value, timeout);
}

jm_status jm_stream_begin(jm_stream* stream, const uint64_t* shape, uint32_t ndim, uint32_t dtype, void** data,
                          uint64_t* length, int64_t timeout) {
  return stream == nullptr ? JM_ERR_ARGUMENT : stream->begin(shape, ndim, dtype, data, length, timeout);
}

jm_status jm_stream_commit(jm_stream* stream) { return stream == nullptr ? JM_ERR_ARGUMENT : stream->commit(); }

jm_status jm_stream_abort(jm_stream* stream) { return stream == nullptr ? JM_ERR_ARGUMENT : stream->abort(); }

jm_status jm_stream_try_read_into(const jm_stream* stream, uint64_t after, void* buffer, uint64_t size,
                                  jm_tensor* out) {
  if (stream == nullptr || out == nullptr || (buffer == nullptr && size != 0)) return JM_ERR_ARGUMENT;
  return stream->protocol().try_read_into(after, buffer, size, out);
}

jm_status jm_stream_try_read(const jm_stream* stream, uint64_t after, jm_tensor* out) {
  return stream == nullptr || out == nullptr ? JM_ERR_ARGUMENT : stream->protocol().try_read(after, out);
}

size_t jm_stream_readers(const jm_stream* stream, jm_reader_info* out) {
  return stream == nullptr || out == nullptr ? 0 : stream->protocol().places(out, true);
}

jm_status jm_reader_new(jm_stream* stream, jm_reader** out) {
  if (stream == nullptr) return JM_ERR_ARGUMENT;
  return make_handle(out, [&](jm_reader& reader) { return reader.open(stream); });
}

void jm_reader_close(jm_reader* reader) {
  if (reader != nullptr) reader->close();
}

void jm_reader_free(jm_reader* reader) { delete reader; }

jm_status jm_reader_next(jm_reader* reader, int64_t timeout, jm_tensor* out) {
  return reader == nullptr || out == nullptr ? JM_ERR_ARGUMENT : reader->next(timeout, out);
}

void jm_reader_keep(jm_reader* reader, const jm_tensor* frame) {
  if (reader != nullptr && frame != nullptr) reader->keep(*frame);
}

void jm_reader_release(jm_reader* reader, const jm_tensor* frame) {
  if (reader != nullptr && frame != nullptr) reader->release(*frame);
}

uint64_t jm_reader_missed(const jm_reader* reader) { return reader == nullptr ? 0 : reader->missed(); }

jm_status jm_stat(const char* name, jm_info* out, char* why, size_t size) {
  return out == nullptr ? JM_ERR_ARGUMENT : judemap::stat_name(name, nullptr, out, {why, size});
}

jm_status jm_stat_copy(const char* name, void* data, size_t capacity, jm_info* out, char* why, size_t size) {
  if (out == nullptr) return JM_ERR_ARGUMENT;
  *out = {};
  if (data == nullptr && capacity != 0) return JM_ERR_ARGUMENT;
  const judemap::Buffer copy = {data, capacity};
  return judemap::stat_name(name, &copy, out, {why, size});
}

void jm_mapping_set_spin(jm_mapping* mapping, int64_t nanoseconds) {
  if (mapping != nullptr) of(mapping).set_spin(nanoseconds);
}

jm_status jm_stream_protocol_write(jm_stream* stream, const uint64_t* shape, uint32_t ndim, uint32_t dtype,
                                   const uint8_t* data, uint64_t length) {
  return stream == nullptr ? JM_ERR_ARGUMENT : stream->protocol().write(shape, ndim, dtype, data, length);
}

jm_status jm_stream_protocol_fill(jm_stream* stream, const uint64_t* shape, uint32_t ndim, uint32_t dtype,
                                  double value) {
  return stream == nullptr ? JM_ERR_ARGUMENT : stream->protocol().fill(shape, ndim, dtype, value);
}

jm_status jm_stream_protocol_begin(jm_stream* stream, const uint64_t* shape, uint32_t ndim, uint32_t dtype, void** data,
                                   uint64_t* length) {
  if (stream == nullptr || data == nullptr || length == nullptr) return JM_ERR_ARGUMENT;
  return stream->protocol().begin(shape, ndim, dtype, data, length);
}

jm_status jm_stream_protocol_commit(jm_stream* stream) {
  return stream == nullptr ? JM_ERR_ARGUMENT : stream->protocol().commit();
}

jm_status jm_stream_protocol_abort(jm_stream* stream) {
  return stream == nullptr ? JM_ERR_ARGUMENT : stream->protocol().abort();
}

jm_status jm_stream_protocol_announce(jm_stream* stream, uint32_t* seen) {
  return stream == nullptr || seen == nullptr ? JM_ERR_ARGUMENT : stream->protocol().announce_writer(seen);
}

jm_status jm_stream_protocol_park(jm_stream* stream, uint32_t seen, int64_t timeout) {
  return stream == nullptr ? JM_ERR_ARGUMENT : stream->protocol().park_writer(seen, timeout);
}

void jm_stream_protocol_wake(jm_stream* stream) {
  if (stream != nullptr) stream->protocol().wake_writer();
}

void jm_stream_protocol_close(jm_stream* stream) {
  if (stream != nullptr) stream->protocol().close();
}

jm_status jm_reader_protocol_join(jm_stream* stream, jm_reader** out) {
  if (stream == nullptr) return JM_ERR_ARGUMENT;
  return make_handle(out, [&](jm_reader& reader) {
    reader.belong_to(stream);
    return stream->protocol().join(&reader.place());
  });
}

jm_status jm_reader_protocol_take(jm_reader* reader, const jm_tensor* before, jm_tensor* out) {
  if (reader == nullptr || out == nullptr) return JM_ERR_ARGUMENT;
  judemap::StreamProtocol& protocol = reader->stream()->protocol();
  if (before != nullptr) protocol.release(&reader->place(), *before);
  return protocol.take(&reader->place(), out);
}

void jm_reader_protocol_release(jm_reader* reader, const jm_tensor* frame) {
  if (reader != nullptr && frame != nullptr) reader->stream()->protocol().release(&reader->place(), *frame);
}

void jm_reader_protocol_leave(jm_reader* reader) {
  if (reader != nullptr) reader->stream()->protocol().leave(&reader->place());
}

void jm_reader_protocol_free(jm_reader* reader) {
  if (reader == nullptr) return;
  reader->belong_to(nullptr);
  delete reader;
}

const uint64_t* jm_reader_protocol_held(const jm_reader* reader) {
  return reader == nullptr ? nullptr : reinterpret_cast<const uint64_t*>(reader->place().held());
}

void jm_protocol_close(jm_segment* segment) {
  if (segment != nullptr) segment->protocol().close();
}

jm_mapping* jm_segment_mapping(jm_segment* segment) {
  return segment == nullptr ? nullptr : handle_of(segment->protocol());
}

jm_status jm_mapping_park(jm_mapping* mapping, uint64_t seen, int64_t timeout) {
  return mapping == nullptr ? JM_ERR_ARGUMENT : of(mapping).park(seen, timeout);
}

void jm_mapping_wake(jm_mapping* mapping) {
  if (mapping != nullptr) of(mapping).wake();
}

jm_writer jm_mapping_writer_state(const jm_mapping* mapping) {
  return mapping == nullptr ? JM_WRITER_NONE : of(mapping).writer();
}

void jm_mapping_set_poll(jm_mapping* mapping, int64_t nanoseconds) {
  if (mapping != nullptr) of(mapping).set_poll(nanoseconds);
}

void jm_mapping_set_threads(jm_mapping* mapping, unsigned threads) {
  if (mapping != nullptr) of(mapping).set_threads(threads);
}

void jm_mapping_get_stats(const jm_mapping* mapping, jm_stats* out) {
  if (mapping != nullptr && out != nullptr) *out = of(mapping).stats();
}

uint64_t jm_mapping_capacity(const jm_mapping* mapping) { return mapping == nullptr ? 0 : of(mapping).capacity(); }

struct jm_header* jm_mapping_base(const jm_mapping* mapping) {
  return mapping == nullptr ? nullptr : of(mapping).header();
}

jm_status jm_mapping_descriptor(jm_mapping* mapping, int writable, int* out) {
  if (mapping == nullptr || out == nullptr) return JM_ERR_ARGUMENT;
  return of(mapping).open_again(writable != 0, out);
}

jm_status jm_mapping_watch_new(jm_parker* parker, jm_mapping* mapping, uint64_t token, jm_watch** out, size_t* lane) {
  if (parker == nullptr || mapping == nullptr) return JM_ERR_ARGUMENT;
  return make_handle(out, [&](jm_watch& watch) { return parker->add(&of(mapping), token, &watch, lane); });
}

jm_status jm_mapping_retire(jm_mapping* mapping) {
  if (mapping == nullptr) return JM_ERR_ARGUMENT;
  errno = judemap::give_back(of(mapping));
  return errno == 0 ? JM_OK : JM_ERR_SYSTEM;
}

jm_status jm_mapping_pin(jm_mapping* mapping) {
  if (mapping == nullptr) return JM_ERR_ARGUMENT;
  if (of(mapping).inherited()) return JM_ERR_FORKED;
  errno = of(mapping).pin();
  return errno == 0 ? JM_OK : JM_ERR_PIN_DENIED;
}

void jm_mapping_unpin(jm_mapping* mapping) {
  if (mapping != nullptr) of(mapping).unpin();
}

jm_status jm_mapping_register_cuda(jm_mapping* mapping, int device, char* why, size_t size) {
  return mapping == nullptr ? JM_ERR_ARGUMENT : of(mapping).register_cuda(device, why, size);
}

jm_status jm_mapping_unregister_cuda(jm_mapping* mapping, char* why, size_t size) {
  return mapping == nullptr ? JM_ERR_ARGUMENT : of(mapping).unregister_cuda(why, size);
}

uint64_t jm_mapping_device_address(const jm_mapping* mapping, const void* at) {
  return mapping == nullptr ? 0 : of(mapping).device_address(at);
}

}  // extern "C"

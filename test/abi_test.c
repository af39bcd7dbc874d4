/* The C interface from plain C: judemap.h compiles as pedantic C11, and its types and functions are what C sees. */
#include <errno.h>
#include <inttypes.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "judemap/judemap.h"

#define REQUIRE(condition)                                                    \
  do {                                                                        \
    if (!(condition)) {                                                       \
      fprintf(stderr, "%s:%d: not so: %s\n", __FILE__, __LINE__, #condition); \
      exit(1);                                                                \
    }                                                                         \
  } while (0)

static void require_status(int line, jm_status status, jm_status expected) {
  if (status == expected) return;
  fprintf(stderr, "%s:%d: status %d (%s), expected %d (%s)\n", __FILE__, line, status, jm_strerror(status), expected,
          jm_strerror(expected));
  exit(1);
}

#define REQUIRE_STATUS(call, expected) require_status(__LINE__, call, expected)

/* The header as C sees it is the one that the layout describes. */
static void layout(void) {
  REQUIRE(sizeof(struct jm_header) == 256 && JM_DATA_OFFSET == 256);
  REQUIRE(offsetof(struct jm_header, sequence) == 0);
  REQUIRE(offsetof(struct jm_header, ndim) == 64);
  REQUIRE(offsetof(struct jm_header, dtype) == 68);
  REQUIRE(offsetof(struct jm_header, shape) == 72);
  REQUIRE(offsetof(struct jm_header, byte_length) == 136);
  REQUIRE(offsetof(struct jm_header, magic) == 192);
  REQUIRE(offsetof(struct jm_header, flags) == 196);
  REQUIRE(offsetof(struct jm_header, waiters) == 200);
  REQUIRE(offsetof(struct jm_header, capacity) == 208);
}

static void write_and_read(void) {
  const uint64_t shape[] = {2, 3};
  const float values[] = {1, 2, 3, 4, 5, 6};
  float copy[6] = {0};
  jm_segment* segment;
  jm_tensor tensor, later;
  void* data;
  uint64_t length;

  REQUIRE_STATUS(jm_new(1024, JM_NO_HUGE_PAGES, &segment), JM_OK);
  REQUIRE(jm_capacity(segment) == 1024);
  REQUIRE(jm_version(segment) == 0);
  REQUIRE_STATUS(jm_read(segment, &tensor), JM_ERR_EMPTY);

  REQUIRE_STATUS(jm_write(segment, shape, 2, JM_FLOAT32, values, sizeof values), JM_OK);
  REQUIRE_STATUS(jm_read(segment, &tensor), JM_OK);
  REQUIRE(tensor.version == 2 && tensor.ndim == 2 && tensor.dtype == JM_FLOAT32);
  REQUIRE(tensor.shape[0] == 2 && tensor.shape[1] == 3 && tensor.shape[2] == 0 && tensor.shape[7] == 0);
  REQUIRE(tensor.byte_length == sizeof values && memcmp(tensor.data, values, sizeof values) == 0);
  REQUIRE((const char*)tensor.data == (const char*)jm_base(segment) + JM_DATA_OFFSET);
  REQUIRE(jm_valid(segment, &tensor));

  REQUIRE_STATUS(jm_read_into(segment, copy, sizeof copy, &later), JM_OK);
  REQUIRE(later.data == copy && memcmp(copy, values, sizeof values) == 0);

  REQUIRE_STATUS(jm_begin(segment, shape, 1, JM_INT64, &data, &length), JM_OK);
  REQUIRE(length == 16);
  memset(data, 0, length);
  REQUIRE_STATUS(jm_try_read(segment, &later), JM_ERR_BUSY);
  REQUIRE_STATUS(jm_try_read_into(segment, copy, sizeof copy, &later), JM_ERR_BUSY);
  jm_commit(segment);
  REQUIRE(jm_version(segment) == 4 && !jm_valid(segment, &tensor));

  REQUIRE_STATUS(jm_begin(segment, NULL, 0, JM_INT64, &data, &length), JM_OK);
  jm_abort(segment);
  REQUIRE_STATUS(jm_read(segment, &later), JM_ERR_EMPTY);

  REQUIRE_STATUS(jm_fill(segment, NULL, 0, JM_FLOAT64, 2.5), JM_OK);
  REQUIRE_STATUS(jm_next(segment, 6, -1, &later), JM_OK);
  REQUIRE(later.version == 8 && later.ndim == 0 && *(const double*)later.data == 2.5);
  REQUIRE_STATUS(jm_next(segment, 8, 1000000, &later), JM_ERR_TIMEOUT);

  REQUIRE_STATUS(jm_retire(segment), JM_OK);
  REQUIRE_STATUS(jm_read(segment, &later), JM_ERR_CLOSED);
  jm_free(segment);
  jm_free(NULL);
}

static void errors(void) {
  const uint64_t shape[] = {3};
  const uint64_t large[] = {1000};
  const uint64_t endless[] = {UINT64_MAX, 2};
  const uint8_t values[] = {7, 8, 9};
  uint8_t copy[2];
  jm_segment* segment;
  jm_tensor tensor;
  const char* why = NULL;

  REQUIRE_STATUS(jm_new(0, 0, &segment), JM_ERR_CAPACITY);
  REQUIRE(segment == NULL);
  REQUIRE_STATUS(jm_new(64, 0, NULL), JM_ERR_ARGUMENT);
  REQUIRE_STATUS(jm_open("a/b", JM_READ_ONLY, &segment, &why), JM_ERR_NAME);

  REQUIRE_STATUS(jm_new(64, 0, &segment), JM_OK);
  REQUIRE_STATUS(jm_write(segment, shape, 1, JM_UINT8, values, sizeof values), JM_OK);
  REQUIRE_STATUS(jm_write(segment, shape, 1, JM_COMPLEX64 + 1, values, sizeof values), JM_ERR_DTYPE);
  REQUIRE_STATUS(jm_write(segment, shape, 1, JM_UINT8, values, 2), JM_ERR_SHAPE);
  REQUIRE_STATUS(jm_write(segment, endless, 2, JM_UINT8, values, 3), JM_ERR_SHAPE);
  REQUIRE_STATUS(jm_write(segment, shape, 1, JM_UINT8, NULL, 3), JM_ERR_ARGUMENT);
  REQUIRE_STATUS(jm_fill(segment, large, 1, JM_UINT8, 0), JM_ERR_CAPACITY);
  REQUIRE_STATUS(jm_fill(segment, shape, 1, JM_UINT8, 256), JM_ERR_RANGE);
  REQUIRE_STATUS(jm_read_into(segment, copy, sizeof copy, &tensor), JM_ERR_BUFFER);
  REQUIRE(tensor.byte_length == 3);
  REQUIRE_STATUS(jm_descriptor(segment, 1, &(int){0}), JM_ERR_ARGUMENT);
  REQUIRE(jm_writer_state(segment) == JM_WRITER_NONE);
  REQUIRE_STATUS(jm_read(segment, &tensor), JM_OK);
  REQUIRE(tensor.version == 2 && memcmp(tensor.data, values, sizeof values) == 0);
  REQUIRE(jm_corrupt_field(segment, &tensor) == NULL);
  tensor.byte_length = 4;
  REQUIRE(strcmp(jm_corrupt_field(segment, &tensor), "byte_length") == 0);
  jm_free(segment);
}

#ifdef __linux__
static void shared(void) {
  const uint64_t shape[] = {1};
  const int32_t value = 42;
  jm_segment *writer, *reader;
  jm_tensor tensor;
  jm_parker* parker;
  jm_watch* watch;
  uint64_t token = 0;
  size_t lane;
  const char* why;
  char name[64];

  snprintf(name, sizeof name, "judemap-abi-test-%p", (void*)&writer);
  jm_remove(name);
  REQUIRE_STATUS(jm_open(name, 0, &reader, &why), JM_ERR_SYSTEM);
  REQUIRE(errno == ENOENT);
  REQUIRE_STATUS(jm_create(name, 64, 0600, 0, &writer), JM_OK);
  REQUIRE_STATUS(jm_open(name, 0, &reader, &why), JM_OK);
  REQUIRE_STATUS(jm_remove(name), JM_OK);

  REQUIRE_STATUS(jm_parker_new(&parker, NULL), JM_OK);
  REQUIRE_STATUS(jm_watch_new(parker, reader, 5, &watch, &lane), JM_OK);
  REQUIRE_STATUS(jm_watch_arm(watch, jm_version(reader)), JM_OK);
  REQUIRE(lane == 0 && jm_parker_threads(parker) == 1);
  REQUIRE_STATUS(jm_write(writer, shape, 1, JM_INT32, &value, sizeof value), JM_OK);
  REQUIRE(jm_parker_wait(parker, lane, &token, 1) == 1 && token == 5);
  REQUIRE_STATUS(jm_watch_arm(watch, 0), JM_ERR_BUSY);
  jm_watch_disarm(watch);
  jm_watch_free(watch);
  jm_parker_free(parker);

  REQUIRE_STATUS(jm_read(reader, &tensor), JM_OK);
  REQUIRE(*(const int32_t*)tensor.data == 42);
  REQUIRE(jm_writer_state(writer) == JM_WRITER_HERE && jm_writer_state(reader) == JM_WRITER_OTHER);
  REQUIRE_STATUS(jm_write(reader, shape, 1, JM_INT32, &value, sizeof value), JM_ERR_WRITER_ACTIVE);
  jm_free(reader);
  jm_free(writer);
}
#endif

/* Two frames through a stream, kept and given back. */
static void streams(void) {
  const uint64_t shape[] = {2};
  const uint8_t values[] = {1, 2};
  jm_stream* stream = NULL;
  jm_reader *reader, *other;
  jm_reader_info infos[JM_STREAM_READERS];
  jm_tensor first, second;
  uint8_t copy[2];
  uint64_t length;
  void* data;

  REQUIRE_STATUS(jm_stream_new(1, 64, 0, &stream), JM_ERR_ARGUMENT);
  REQUIRE_STATUS(jm_stream_new(JM_STREAM_SLOTS + 1, 64, 0, &stream), JM_ERR_ARGUMENT);
  REQUIRE_STATUS(jm_stream_new(4, 0, 0, &stream), JM_ERR_CAPACITY);
  REQUIRE_STATUS(jm_stream_new(4, 64, JM_EVERY_FRAME, &stream), JM_OK);
  REQUIRE(jm_stream_slots(stream) == 4 && jm_stream_every_frame(stream) && jm_stream_slot(stream, 4) == NULL);
  REQUIRE(jm_mapping_base(jm_stream_mapping(stream)) != NULL && jm_mapping_capacity(jm_stream_mapping(stream)) == 64);
  jm_mapping_set_spin(jm_stream_mapping(stream), 1000);
  REQUIRE_STATUS(jm_stream_try_read(stream, 0, &first), JM_ERR_EMPTY);
  REQUIRE_STATUS(jm_reader_new(stream, &reader), JM_OK);
  REQUIRE_STATUS(jm_reader_next(reader, 0, &first), JM_ERR_TIMEOUT);
  REQUIRE_STATUS(jm_stream_write(stream, shape, 1, JM_UINT8, values, 2, -1), JM_OK);
  REQUIRE_STATUS(jm_stream_fill(stream, shape, 1, JM_UINT8, 7, -1), JM_OK);
  REQUIRE_STATUS(jm_stream_begin(stream, shape, 1, JM_UINT8, &data, &length, -1), JM_OK);
  REQUIRE_STATUS(jm_stream_abort(stream), JM_OK);
  REQUIRE_STATUS(jm_reader_next(reader, -1, &first), JM_OK);
  REQUIRE(first.version == 2 && memcmp(first.data, values, 2) == 0);
  jm_reader_keep(reader, &first);
  REQUIRE_STATUS(jm_reader_next(reader, -1, &second), JM_OK);
  REQUIRE(second.version == 4 && jm_reader_missed(reader) == 0);
  REQUIRE(jm_stream_readers(stream, infos) == 1 && infos[0].held == 2 && infos[0].cursor == 3 && !infos[0].dead);
  REQUIRE_STATUS(jm_stream_begin(stream, shape, 1, JM_UINT8, &data, &length, -1), JM_OK);
  REQUIRE_STATUS(jm_stream_commit(stream), JM_OK);
  REQUIRE_STATUS(jm_stream_fill(stream, shape, 1, JM_UINT8, 7, -1), JM_OK);
  REQUIRE_STATUS(jm_stream_fill(stream, shape, 1, JM_UINT8, 7, 0), JM_ERR_NO_SLOT);
  REQUIRE(memcmp(first.data, values, 2) == 0);
  jm_reader_release(reader, &first);
  jm_reader_release(reader, &first);
  REQUIRE_STATUS(jm_stream_fill(stream, shape, 1, JM_UINT8, 7, 0), JM_OK);
  REQUIRE_STATUS(jm_stream_try_read_into(stream, 0, copy, 2, &first), JM_OK);
  REQUIRE(first.version == 10 && copy[0] == 7 && first.data == copy);
  REQUIRE_STATUS(jm_stream_try_read_into(stream, 0, copy, 1, &first), JM_ERR_BUFFER);

  /* The same by the calls that neither lock nor wait. */
  REQUIRE_STATUS(jm_reader_protocol_join(stream, &other), JM_OK);
  jm_reader_close(reader);
  REQUIRE(jm_stream_readers(stream, infos) == 1 && infos[0].held == 0);
  jm_reader_release(reader, &second);
  REQUIRE_STATUS(jm_reader_next(reader, 0, &second), JM_ERR_CLOSED);
  jm_reader_close(reader);
  jm_reader_free(reader);
  REQUIRE_STATUS(jm_reader_protocol_take(other, NULL, &first), JM_ERR_EMPTY);
  REQUIRE_STATUS(jm_stream_protocol_write(stream, shape, 1, JM_UINT8, values, 2), JM_OK);
  REQUIRE_STATUS(jm_stream_protocol_fill(stream, shape, 1, JM_UINT8, 7), JM_OK);
  REQUIRE_STATUS(jm_reader_protocol_take(other, NULL, &first), JM_OK);
  REQUIRE_STATUS(jm_reader_protocol_take(other, &first, &second), JM_OK);
  REQUIRE(second.version == first.version + 2);
  REQUIRE(jm_reader_protocol_held(other)[0] + jm_reader_protocol_held(other)[1] + jm_reader_protocol_held(other)[2] +
              jm_reader_protocol_held(other)[3] ==
          second.version);
  jm_reader_protocol_release(other, &second);
  jm_reader_protocol_leave(other);
  REQUIRE(jm_stream_readers(stream, infos) == 0);
  jm_reader_protocol_free(other);
  REQUIRE_STATUS(jm_stream_protocol_begin(stream, shape, 1, JM_UINT8, &data, &length), JM_OK);
  REQUIRE_STATUS(jm_stream_protocol_abort(stream), JM_OK);
  REQUIRE_STATUS(jm_stream_protocol_commit(stream), JM_ERR_ARGUMENT);
  REQUIRE_STATUS(jm_stream_retire(stream), JM_OK);
  REQUIRE_STATUS(jm_stream_fill(stream, shape, 1, JM_UINT8, 7, 0), JM_ERR_CLOSED);
  jm_stream_free(stream);
}

/* A null pointer is an error, wherever it is, and never a crash. */
static void null_pointers(void) {
  const uint64_t shape[] = {1};
  uint64_t length;
  jm_segment* segment;
  jm_tensor tensor = {0};
  jm_stats stats;
  jm_info info;
  void* data;
  uint8_t byte = 1;
  int descriptor;

  REQUIRE_STATUS(jm_new(1, 0, NULL), JM_ERR_ARGUMENT);
  REQUIRE_STATUS(jm_create("judemap-abi-test-null", 1, 0600, 0, NULL), JM_ERR_ARGUMENT);
  REQUIRE_STATUS(jm_create_sealed(1, 0, NULL), JM_ERR_ARGUMENT);
  REQUIRE_STATUS(jm_open("judemap-abi-test-null", 0, NULL, NULL), JM_ERR_ARGUMENT);
  REQUIRE_STATUS(jm_open_descriptor(0, 0, NULL, NULL), JM_ERR_ARGUMENT);
  REQUIRE_STATUS(jm_list_new(NULL), JM_ERR_ARGUMENT);
  REQUIRE_STATUS(jm_stat("judemap-abi-test-null", NULL, NULL, 0), JM_ERR_ARGUMENT);
  REQUIRE_STATUS(jm_stat(NULL, &info, NULL, 0), JM_ERR_NAME);
  REQUIRE_STATUS(jm_stat_copy("judemap-abi-test-null", &byte, 1, NULL, NULL, 0), JM_ERR_ARGUMENT);
  REQUIRE_STATUS(jm_stat_copy("judemap-abi-test-null", NULL, 1, &info, NULL, 0), JM_ERR_ARGUMENT);
  REQUIRE_STATUS(jm_stat_copy(NULL, NULL, 0, &info, NULL, 0), JM_ERR_NAME);
  REQUIRE_STATUS(jm_parker_new(NULL, NULL), JM_ERR_ARGUMENT);
  REQUIRE_STATUS(jm_tensor_bytes(shape, 1, JM_UINT8, NULL), JM_ERR_ARGUMENT);
  REQUIRE_STATUS(jm_tensor_bytes(NULL, 1, JM_UINT8, &length), JM_ERR_ARGUMENT);

  REQUIRE_STATUS(jm_descriptor(NULL, 0, &descriptor), JM_ERR_ARGUMENT);
  REQUIRE_STATUS(jm_retire(NULL), JM_ERR_ARGUMENT);
  REQUIRE_STATUS(jm_write(NULL, shape, 1, JM_UINT8, &byte, 1), JM_ERR_ARGUMENT);
  REQUIRE_STATUS(jm_fill(NULL, shape, 1, JM_UINT8, 1), JM_ERR_ARGUMENT);
  REQUIRE_STATUS(jm_begin(NULL, shape, 1, JM_UINT8, &data, &length), JM_ERR_ARGUMENT);
  REQUIRE_STATUS(jm_commit(NULL), JM_ERR_ARGUMENT);
  REQUIRE_STATUS(jm_abort(NULL), JM_ERR_ARGUMENT);
  REQUIRE_STATUS(jm_read(NULL, &tensor), JM_ERR_ARGUMENT);
  REQUIRE_STATUS(jm_next(NULL, 0, 0, &tensor), JM_ERR_ARGUMENT);
  REQUIRE_STATUS(jm_try_read(NULL, &tensor), JM_ERR_ARGUMENT);
  REQUIRE_STATUS(jm_read_into(NULL, &byte, 1, &tensor), JM_ERR_ARGUMENT);
  REQUIRE_STATUS(jm_try_read_into(NULL, &byte, 1, &tensor), JM_ERR_ARGUMENT);
  REQUIRE_STATUS(jm_pin(NULL), JM_ERR_ARGUMENT);
  REQUIRE_STATUS(jm_protocol_try_read(NULL, &tensor), JM_ERR_ARGUMENT);
  REQUIRE_STATUS(jm_protocol_try_read_into(NULL, &byte, 1, &tensor), JM_ERR_ARGUMENT);
  REQUIRE_STATUS(jm_remove(NULL), JM_ERR_NAME);
  REQUIRE_STATUS(jm_protocol_write(NULL, shape, 1, JM_UINT8, &byte, 1), JM_ERR_ARGUMENT);
  REQUIRE_STATUS(jm_protocol_fill(NULL, shape, 1, JM_UINT8, 1), JM_ERR_ARGUMENT);
  REQUIRE_STATUS(jm_protocol_begin(NULL, shape, 1, JM_UINT8, &data, &length), JM_ERR_ARGUMENT);
  REQUIRE_STATUS(jm_protocol_commit(NULL), JM_ERR_ARGUMENT);
  REQUIRE_STATUS(jm_protocol_abort(NULL), JM_ERR_ARGUMENT);
  REQUIRE_STATUS(jm_mapping_park(NULL, 0, 0), JM_ERR_ARGUMENT);
  REQUIRE_STATUS(jm_mapping_descriptor(NULL, 0, &descriptor), JM_ERR_ARGUMENT);
  REQUIRE_STATUS(jm_mapping_retire(NULL), JM_ERR_ARGUMENT);
  REQUIRE_STATUS(jm_mapping_pin(NULL), JM_ERR_ARGUMENT);
  REQUIRE_STATUS(jm_register_cuda(NULL, 0, NULL, 0), JM_ERR_ARGUMENT);
  REQUIRE_STATUS(jm_unregister_cuda(NULL, NULL, 0), JM_ERR_ARGUMENT);
  REQUIRE_STATUS(jm_mapping_register_cuda(NULL, 0, NULL, 0), JM_ERR_ARGUMENT);
  REQUIRE_STATUS(jm_mapping_unregister_cuda(NULL, NULL, 0), JM_ERR_ARGUMENT);
  REQUIRE_STATUS(jm_stream_register_cuda(NULL, 0, NULL, 0), JM_ERR_ARGUMENT);
  REQUIRE_STATUS(jm_stream_unregister_cuda(NULL, NULL, 0), JM_ERR_ARGUMENT);
  REQUIRE(jm_device_address(NULL, NULL) == 0 && jm_mapping_device_address(NULL, NULL) == 0);
  REQUIRE(jm_stream_device_address(NULL, NULL) == 0);
  REQUIRE_STATUS(jm_watch_new(NULL, NULL, 1, NULL, NULL), JM_ERR_ARGUMENT);
  REQUIRE_STATUS(jm_watch_arm(NULL, 0), JM_ERR_ARGUMENT);
  REQUIRE(jm_valid(NULL, &tensor) == 0 && jm_corrupt_field(NULL, &tensor) == NULL && jm_version(NULL) == 0);
  REQUIRE(jm_writer_state(NULL) == JM_WRITER_NONE && jm_capacity(NULL) == 0 && jm_base(NULL) == NULL);
  REQUIRE(jm_is_pinned(NULL) == 0 && jm_list_next(NULL) == NULL && jm_parker_next(NULL) == 0);
  REQUIRE(jm_parker_wait(NULL, 0, &length, 1) == 0 && jm_parker_threads(NULL) == 0);
  jm_free(NULL);
  jm_unpin(NULL);
  jm_set_poll(NULL, 1);
  jm_set_threads(NULL, 1);
  jm_get_stats(NULL, &stats);
  REQUIRE(jm_segment_mapping(NULL) == NULL && jm_mapping_base(NULL) == NULL && jm_mapping_capacity(NULL) == 0);
  REQUIRE(jm_mapping_writer_state(NULL) == JM_WRITER_NONE);
  REQUIRE_STATUS(jm_mapping_watch_new(NULL, NULL, 1, NULL, NULL), JM_ERR_ARGUMENT);
  jm_mapping_set_poll(NULL, 1);
  jm_mapping_set_spin(NULL, 1);
  jm_mapping_set_threads(NULL, 1);
  jm_mapping_get_stats(NULL, &stats);
  jm_mapping_wake(NULL);
  jm_protocol_close(NULL);
  jm_mapping_unpin(NULL);
  jm_list_free(NULL);
  jm_watch_disarm(NULL);
  jm_watch_free(NULL);
  jm_parker_stop(NULL);
  jm_parker_free(NULL);

  REQUIRE_STATUS(jm_new(8, 0, &segment), JM_OK);
  REQUIRE_STATUS(jm_write(segment, NULL, 1, JM_UINT8, &byte, 1), JM_ERR_ARGUMENT);
  REQUIRE_STATUS(jm_write(segment, shape, 1, JM_UINT8, NULL, 1), JM_ERR_ARGUMENT);
  REQUIRE_STATUS(jm_begin(segment, shape, 1, JM_UINT8, NULL, &length), JM_ERR_ARGUMENT);
  REQUIRE_STATUS(jm_begin(segment, shape, 1, JM_UINT8, &data, NULL), JM_ERR_ARGUMENT);
  REQUIRE_STATUS(jm_write(segment, shape, 1, JM_UINT8, &byte, 1), JM_OK);
  REQUIRE_STATUS(jm_read(segment, NULL), JM_ERR_ARGUMENT);
  REQUIRE_STATUS(jm_try_read(segment, NULL), JM_ERR_ARGUMENT);
  REQUIRE_STATUS(jm_next(segment, 0, 0, NULL), JM_ERR_ARGUMENT);
  REQUIRE_STATUS(jm_read_into(segment, NULL, 1, &tensor), JM_ERR_ARGUMENT);
  REQUIRE_STATUS(jm_try_read_into(segment, NULL, 1, &tensor), JM_ERR_ARGUMENT);
  REQUIRE_STATUS(jm_protocol_try_read(segment, NULL), JM_ERR_ARGUMENT);
  REQUIRE_STATUS(jm_protocol_try_read_into(segment, NULL, 1, &tensor), JM_ERR_ARGUMENT);
  REQUIRE_STATUS(jm_protocol_begin(segment, shape, 1, JM_UINT8, NULL, &length), JM_ERR_ARGUMENT);
  REQUIRE_STATUS(jm_mapping_descriptor(jm_segment_mapping(segment), 0, NULL), JM_ERR_ARGUMENT);
  REQUIRE_STATUS(jm_read_into(segment, &byte, 1, NULL), JM_ERR_ARGUMENT);
  REQUIRE_STATUS(jm_descriptor(segment, 0, NULL), JM_ERR_ARGUMENT);
  REQUIRE(jm_valid(segment, NULL) == 0 && jm_corrupt_field(segment, NULL) == NULL);
  jm_get_stats(segment, NULL);
  jm_get_stats(segment, &stats);
  jm_mapping_get_stats(jm_segment_mapping(segment), NULL);
  REQUIRE(jm_mapping_base(jm_segment_mapping(segment)) == jm_base(segment));
  REQUIRE(stats.commits == 1 && stats.wakes == 0);

  /* What ends no update changes nothing, and holds nobody up. */
  REQUIRE_STATUS(jm_commit(segment), JM_ERR_ARGUMENT);
  REQUIRE_STATUS(jm_abort(segment), JM_ERR_ARGUMENT);
  REQUIRE_STATUS(jm_begin(segment, shape, 1, JM_UINT8, &data, &length), JM_OK);
  REQUIRE_STATUS(jm_commit(segment), JM_OK);
  REQUIRE_STATUS(jm_commit(segment), JM_ERR_ARGUMENT);
  REQUIRE_STATUS(jm_abort(segment), JM_ERR_ARGUMENT);
  REQUIRE_STATUS(jm_write(segment, shape, 1, JM_UINT8, &byte, 1), JM_OK);
  REQUIRE(jm_version(segment) == 6);
  jm_free(segment);
}

static void streams_without_handles(void) {
  const uint64_t shape[] = {1};
  uint64_t length;
  uint32_t seen;
  jm_reader* reader;
  jm_reader_info info;
  jm_tensor tensor = {0};
  void* data;
  uint8_t byte = 1;

  REQUIRE_STATUS(jm_stream_new(2, 1, 0, NULL), JM_ERR_ARGUMENT);
  REQUIRE_STATUS(jm_stream_create("judemap-abi-test-null", 2, 1, 0600, 0, NULL), JM_ERR_ARGUMENT);
  REQUIRE_STATUS(jm_stream_create_sealed(2, 1, 0, NULL), JM_ERR_ARGUMENT);
  REQUIRE_STATUS(jm_stream_open("judemap-abi-test-null", 0, NULL, NULL), JM_ERR_ARGUMENT);
  REQUIRE_STATUS(jm_stream_open_descriptor(0, 0, NULL, NULL), JM_ERR_ARGUMENT);
  REQUIRE_STATUS(jm_stream_retire(NULL), JM_ERR_ARGUMENT);
  REQUIRE_STATUS(jm_stream_write(NULL, shape, 1, JM_UINT8, &byte, 1, 0), JM_ERR_ARGUMENT);
  REQUIRE_STATUS(jm_stream_fill(NULL, shape, 1, JM_UINT8, 1, 0), JM_ERR_ARGUMENT);
  REQUIRE_STATUS(jm_stream_begin(NULL, shape, 1, JM_UINT8, &data, &length, 0), JM_ERR_ARGUMENT);
  REQUIRE_STATUS(jm_stream_commit(NULL), JM_ERR_ARGUMENT);
  REQUIRE_STATUS(jm_stream_abort(NULL), JM_ERR_ARGUMENT);
  REQUIRE_STATUS(jm_stream_try_read(NULL, 0, &tensor), JM_ERR_ARGUMENT);
  REQUIRE_STATUS(jm_stream_try_read_into(NULL, 0, &byte, 1, &tensor), JM_ERR_ARGUMENT);
  REQUIRE_STATUS(jm_reader_new(NULL, &reader), JM_ERR_ARGUMENT);
  REQUIRE_STATUS(jm_reader_next(NULL, 0, &tensor), JM_ERR_ARGUMENT);
  REQUIRE_STATUS(jm_stream_protocol_write(NULL, shape, 1, JM_UINT8, &byte, 1), JM_ERR_ARGUMENT);
  REQUIRE_STATUS(jm_stream_protocol_fill(NULL, shape, 1, JM_UINT8, 1), JM_ERR_ARGUMENT);
  REQUIRE_STATUS(jm_stream_protocol_begin(NULL, shape, 1, JM_UINT8, &data, &length), JM_ERR_ARGUMENT);
  REQUIRE_STATUS(jm_stream_protocol_commit(NULL), JM_ERR_ARGUMENT);
  REQUIRE_STATUS(jm_stream_protocol_abort(NULL), JM_ERR_ARGUMENT);
  REQUIRE_STATUS(jm_stream_protocol_announce(NULL, &seen), JM_ERR_ARGUMENT);
  REQUIRE_STATUS(jm_stream_protocol_park(NULL, 0, 0), JM_ERR_ARGUMENT);
  REQUIRE_STATUS(jm_reader_protocol_join(NULL, &reader), JM_ERR_ARGUMENT);
  REQUIRE_STATUS(jm_reader_protocol_take(NULL, NULL, &tensor), JM_ERR_ARGUMENT);
  REQUIRE(jm_stream_mapping(NULL) == NULL && jm_stream_slots(NULL) == 0 && jm_stream_every_frame(NULL) == 0);
  REQUIRE(jm_stream_slot(NULL, 0) == NULL && jm_stream_readers(NULL, &info) == 0 && jm_reader_missed(NULL) == 0);
  REQUIRE(jm_reader_protocol_held(NULL) == NULL);
  jm_stream_protocol_wake(NULL);
  jm_stream_protocol_close(NULL);
  jm_reader_keep(NULL, &tensor);
  jm_reader_release(NULL, &tensor);
  jm_reader_protocol_release(NULL, &tensor);
  jm_reader_protocol_leave(NULL);
  jm_reader_protocol_free(NULL);
  jm_reader_close(NULL);
  jm_reader_free(NULL);
  jm_stream_free(NULL);
}

int main(void) {
  layout();
  streams();
  null_pointers();
  streams_without_handles();
  write_and_read();
  errors();
#ifdef __linux__
  shared();
#endif
  puts("ok");
  return 0;
}

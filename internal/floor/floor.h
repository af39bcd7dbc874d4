// The loops that floor.go calls.
#ifndef JUDEMAP_INTERNAL_FLOOR_H
#define JUDEMAP_INTERNAL_FLOOR_H

#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

void floor_call(void);
void floor_memcpy(void* destination, const void* source, size_t size, size_t times);
void floor_memcpy_threads(void* destination, const void* source, size_t size, size_t threads, size_t times);
uint64_t floor_sum(const void* data, size_t size);
void floor_memset(void* destination, int value, size_t size, size_t times);
size_t floor_read(size_t times);
void floor_commit(size_t size, size_t times);
size_t floor_write_frames(const char* stream, size_t size, size_t frames, int64_t spin);
size_t floor_sum_frames(const char* stream, size_t frames, int64_t spin);
int64_t floor_clock(void);
size_t floor_word_trips(const char* out, const char* in, int first, int polling, size_t times, int64_t* each);
size_t floor_segment_trips(const char* out, const char* in, size_t size, int first, int polling, size_t times,
                           int64_t* each);

#ifdef __cplusplus
}
#endif

#endif  // JUDEMAP_INTERNAL_FLOOR_H

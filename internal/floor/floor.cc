#include "floor.h"

#include <cstring>
#include <vector>

#include "judemap/segment.h"

namespace {

// Keeps the compiler from merging the rounds of a loop.
void clobber() { asm volatile("" : : : "memory"); }

}  // namespace

void floor_call(void) {}

void floor_memcpy(void* destination, const void* source, size_t size, size_t times) {
  for (size_t i = 0; i < times; ++i) {
    std::memcpy(destination, source, size);
    clobber();
  }
}

void floor_memset(void* destination, size_t size, size_t times) {
  for (size_t i = 0; i < times; ++i) {
    std::memset(destination, 1, size);
    clobber();
  }
}

size_t floor_read(size_t times) {
  judemap::Segment segment;
  const std::uint64_t shape[] = {1, 8, 8, 3};
  if (segment.create(1024) != JM_OK || segment.fill(shape, 4, JM_FLOAT32, 1) != JM_OK) return 0;
  size_t valid = 0;
  for (size_t i = 0; i < times; ++i) {
    jm_tensor tensor;
    valid += segment.try_read(&tensor) == JM_OK && segment.valid(tensor);
    clobber();
  }
  return valid;
}

void floor_commit(size_t size, size_t times) {
  judemap::Segment segment;
  std::vector<unsigned char> data(size);
  const std::uint64_t shape[] = {size};
  if (segment.create(size) != JM_OK) return;
  for (size_t i = 0; i < times; ++i) segment.write(shape, 1, JM_UINT8, data.data(), size);
}

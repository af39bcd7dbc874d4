#include <cstdint>
#include <cstdio>
#include <thread>

#include "judemap/segment.h"

int main() {
  judemap::Segment segment;
  if (segment.create(1024) != JM_OK) return 1;
  jm_status status = JM_OK;
  std::thread writer([&] {
    const std::uint64_t shape[] = {2, 3};
    const float values[] = {1, 2, 3, 4, 5, 6};
    status = segment.write(shape, 2, JM_FLOAT32, values, sizeof values);
  });
  jm_tensor tensor;
  const jm_status waited = segment.next(0, -1, &tensor);
  writer.join();
  if (status != JM_OK || waited != JM_OK) return 2;
  if (static_cast<const float*>(tensor.data)[5] != 6 || !segment.valid(tensor)) return 3;
  std::puts("consumer of segment.h: ok");
  return 0;
}

#include <judemap/judemap.h>
#include <stdio.h>
#include <string.h>

int main(void) {
  const uint64_t shape[] = {3};
  const int16_t values[] = {1, 2, 3};
  int16_t copy[3];
  jm_segment* segment;
  jm_tensor tensor;
  if (jm_new(1024, 0, &segment) != JM_OK) return 1;
  if (jm_write(segment, shape, 1, JM_INT16, values, sizeof values) != JM_OK) return 2;
  if (jm_read_into(segment, copy, sizeof copy, &tensor) != JM_OK) return 3;
  if (tensor.version != 2 || copy[2] != 3) return 4;
  jm_free(segment);
  if (strcmp(jm_library_version(), JUDEMAP_VERSION) != 0) return 5;
  puts("consumer of judemap.h: ok");
  return 0;
}

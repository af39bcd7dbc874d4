#include "driver.h"

#include <dlfcn.h>
#include <stdio.h>

#define CUDA_DEFINE(name, parameters, arguments) \
  static int(*found_##name) parameters;          \
  int cuda_##name parameters { return found_##name arguments; }
CUDA_FUNCTIONS(CUDA_DEFINE)

const char* cuda_load(void) {
  static char missing[128];
  void* library = dlopen("libcuda.so.1", RTLD_NOW);
  if (library == NULL) return dlerror();
#define CUDA_FIND(name, parameters, arguments)                          \
  *(void**)&found_##name = dlsym(library, #name);                       \
  if (found_##name == NULL) {                                           \
    snprintf(missing, sizeof missing, "libcuda.so.1 has no %s", #name); \
    return missing;                                                     \
  }
  CUDA_FUNCTIONS(CUDA_FIND)
  return NULL;
}

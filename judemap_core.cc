// The core, compiled into this package: the go command compiles C++ only from a package's own folder.
#include "csrc/capi.cc"
#include "csrc/memory_posix.cc"
#include "csrc/memory_windows.cc"
#include "csrc/segment.cc"

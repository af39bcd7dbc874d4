// What the header of a named segment or stream says, and its tensor, without mapping it.
#ifndef JUDEMAP_STAT_H
#define JUDEMAP_STAT_H

#include <cstddef>

#include "judemap/judemap.h"

namespace judemap {

// Where to say in words what is wrong; text may be nullptr.
struct Words {
  char* text;
  std::size_t size;
};

// Where a copy goes; data may be nullptr if size is 0.
struct Buffer {
  void* data;
  std::size_t size;
};

// See jm_stat; and jm_stat_copy, if `buffer` isn't nullptr.
jm_status stat_name(const char* name, const Buffer* buffer, jm_info* out, Words why) noexcept;

}  // namespace judemap

#endif  // JUDEMAP_STAT_H

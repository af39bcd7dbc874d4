// What the header of a named segment or stream says, without mapping it.
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

// See jm_stat.
jm_status stat_name(const char* name, jm_info* out, Words why) noexcept;

}  // namespace judemap

#endif  // JUDEMAP_STAT_H

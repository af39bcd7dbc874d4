// The system's header for Windows 10, without what the core has no use for.
#ifndef JUDEMAP_SYSTEM_WINDOWS_H
#define JUDEMAP_SYSTEM_WINDOWS_H

#ifndef _WIN32_WINNT
#define _WIN32_WINNT 0x0A00  // Windows 10
#endif
#ifndef WIN32_LEAN_AND_MEAN
#define WIN32_LEAN_AND_MEAN
#endif
#ifndef NOMINMAX
#define NOMINMAX
#endif
#include <windows.h>

#endif  // JUDEMAP_SYSTEM_WINDOWS_H

/* The version of judemap, for C and C++, for Go (judemap.Version), CMake, pkg-config and Python: all of them read it here.
 * Before 1.0, another minor version may have another interface.
 */
#ifndef JUDEMAP_VERSION_H
#define JUDEMAP_VERSION_H

#define JUDEMAP_VERSION "0.1.0"

#endif /* JUDEMAP_VERSION_H */

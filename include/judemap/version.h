/* The version of judemap. Go (judemap.Version), CMake, pkg-config and Python read it here. Before 1.0, another minor
 * version may have another interface.
 */
#ifndef JUDEMAP_VERSION_H
#define JUDEMAP_VERSION_H

#define JUDEMAP_VERSION "0.1.0"

#endif /* JUDEMAP_VERSION_H */

//go:build ignore
// (For the go command: this file is compiled as a part of judemap_core.cc, never by itself.)
//
// Sharing on Windows: files in %LOCALAPPDATA%\judemap, for the user alone. A section in memory would vanish with the
// last process that has it open, and can't be listed.

#ifdef _WIN32

#include <algorithm>
#include <cerrno>
#include <cstdio>
#include <cstring>
#include <cwchar>
#include <new>

#include "clock.h"
#include "share.h"
#include "views_windows.h"
// clang-format off
#include <sddl.h>  // needs windows.h before it
// clang-format on

namespace judemap {
namespace share {
namespace {

using windows::handle_of;
using windows::last_error;

// Names on Windows can't have some characters, nor end with others. They take the place that Cygwin and Samba give
// them, in a range of Unicode that is for private use.
constexpr wchar_t kElsewhere = 0xF000;

// What the names of files begin with that bear no name of a segment: of one that is not ready yet, has none, or had
// one. It stands for a slash, which no name has.
constexpr wchar_t kNameless = kElsewhere + L'/';

constexpr DWORD kShared = FILE_SHARE_READ | FILE_SHARE_WRITE | FILE_SHARE_DELETE;

// Locks lie where no file reaches.
constexpr std::uint64_t kLocks = std::uint64_t{1} << 62;

struct Path {
  static constexpr std::size_t kRoom = 1024;
  wchar_t text[kRoom + kMostNameBytes + 1];
  std::size_t folder = 0;  // the length of the folder, with a backslash behind it

  // The folder. 0, or an errno value.
  int to_folder() noexcept {
    static constexpr wchar_t kPrefix[] = L"\\\\?\\";  // names are then taken as they are, of any length
    static constexpr wchar_t kSuffix[] = L"\\judemap\\";
    constexpr std::size_t prefix = sizeof kPrefix / sizeof *kPrefix - 1, suffix = sizeof kSuffix / sizeof *kSuffix - 1;
    const DWORD room = static_cast<DWORD>(kRoom - prefix - suffix);
    wchar_t* const user = text + prefix;
    const DWORD length = GetEnvironmentVariableW(L"LOCALAPPDATA", user, room);
    if (length == 0) return ENOENT;
    if (length >= room) return ENAMETOOLONG;
    std::replace(user, user + length, L'/', L'\\');
    std::memcpy(text, kPrefix, prefix * sizeof(wchar_t));
    std::memcpy(user + length, kSuffix, sizeof kSuffix);
    folder = prefix + length + suffix;
    return 0;
  }

  // The file with a name of a segment, which is UTF-8.
  int to_file(const char* name) noexcept {
    if (const int error = to_folder()) return error;
    wchar_t* const file = text + folder;
    const int length = MultiByteToWideChar(CP_UTF8, MB_ERR_INVALID_CHARS, name, -1, file, kMostNameBytes + 1) - 1;
    if (length <= 0) return EINVAL;
    for (int i = 0; i < length; ++i) {
      const bool last = i == length - 1 && (file[i] == L'.' || file[i] == L' ');
      if (last || file[i] < L' ' || std::wcschr(L"<>:\"\\|?*", file[i]) != nullptr) file[i] += kElsewhere;
    }
    return 0;
  }

  // A file that bears no name of a segment, and that nobody else thinks of.
  int to_nameless() noexcept {
    if (const int error = to_folder()) return error;
    unsigned numbers[2];
    if (!windows::random(numbers, sizeof numbers)) return EAGAIN;
    text[folder] = kNameless;
    std::swprintf(text + folder + 1, kMostNameBytes, L"%08x%08x", numbers[0], numbers[1]);
    return 0;
  }

  // The folder itself, or all files that begin with something.
  void to_pattern(const wchar_t* pattern) noexcept { std::wcscpy(text + folder, pattern); }
};

// The folder, made for the user and the system alone if it is not there.
int make_folder(Path* path) noexcept {
  if (const int error = path->to_folder()) return error;
  path->text[path->folder - 1] = 0;
  HANDLE token;
  if (!OpenProcessToken(GetCurrentProcess(), TOKEN_QUERY, &token)) return last_error();
  alignas(TOKEN_USER) unsigned char room[sizeof(TOKEN_USER) + SECURITY_MAX_SID_SIZE];
  DWORD length;
  wchar_t* user = nullptr;
  int error = 0;
  if (!GetTokenInformation(token, TokenUser, room, sizeof room, &length) ||
      !ConvertSidToStringSidW(reinterpret_cast<TOKEN_USER*>(room)->User.Sid, &user)) {
    error = last_error();
  }
  CloseHandle(token);
  if (error != 0) return error;
  wchar_t rights[256];
  std::swprintf(rights, sizeof rights / sizeof *rights, L"D:P(A;OICI;FA;;;%ls)(A;OICI;FA;;;SY)", user);
  LocalFree(user);
  SECURITY_ATTRIBUTES security = {sizeof security, nullptr, FALSE};
  if (!ConvertStringSecurityDescriptorToSecurityDescriptorW(rights, SDDL_REVISION_1, &security.lpSecurityDescriptor,
                                                            nullptr)) {
    return last_error();
  }
  if (!CreateDirectoryW(path->text, &security) && GetLastError() != ERROR_ALREADY_EXISTS) error = last_error();
  LocalFree(security.lpSecurityDescriptor);
  return error;
}

DWORD access_of(bool writable) noexcept { return writable ? GENERIC_READ | GENERIC_WRITE : GENERIC_READ; }

// A handle, or an errno value.
int result(HANDLE handle, int* descriptor) noexcept {
  if (handle == INVALID_HANDLE_VALUE || handle == nullptr) return last_error();
  *descriptor = windows::descriptor_of(handle);
  return 0;
}

OVERLAPPED lock_at(unsigned byte) noexcept {
  OVERLAPPED at = {};
  at.Offset = static_cast<DWORD>(kLocks + byte);
  at.OffsetHigh = static_cast<DWORD>((kLocks + byte) >> 32);
  return at;
}

bool lock(HANDLE file, unsigned byte, bool exclusive) noexcept {
  OVERLAPPED at = lock_at(byte);
  return LockFileEx(file, LOCKFILE_FAIL_IMMEDIATELY | (exclusive ? LOCKFILE_EXCLUSIVE_LOCK : 0), 0, 1, 0, &at) != 0;
}

void unlock(HANDLE file, unsigned byte) noexcept {
  OVERLAPPED at = lock_at(byte);
  UnlockFileEx(file, 0, 1, 0, &at);
}

bool read_bytes(HANDLE file, std::uint64_t offset, void* buffer, std::size_t bytes) noexcept {
  constexpr std::size_t kPiece = std::size_t{1} << 30;  // a DWORD can't say 4 GiB
  auto* to = static_cast<unsigned char*>(buffer);
  while (bytes != 0) {
    OVERLAPPED at = {};
    at.Offset = static_cast<DWORD>(offset);
    at.OffsetHigh = static_cast<DWORD>(offset >> 32);
    DWORD count = 0;
    if (!ReadFile(file, to, static_cast<DWORD>(std::min(bytes, kPiece)), &count, &at) &&
        (GetLastError() != ERROR_IO_PENDING || !GetOverlappedResult(file, &at, &count, TRUE))) {
      return false;
    }
    if (count == 0) return false;
    to += count;
    offset += count;
    bytes -= count;
  }
  return true;
}

// Whether what is open is a regular file. The reason is then in `information`.
bool regular(HANDLE file, BY_HANDLE_FILE_INFORMATION* information) noexcept {
  return GetFileType(file) == FILE_TYPE_DISK && GetFileInformationByHandle(file, information) &&
         (information->dwFileAttributes & (FILE_ATTRIBUTE_DIRECTORY | FILE_ATTRIBUTE_REPARSE_POINT)) == 0;
}

bool same(HANDLE a, HANDLE b) noexcept {
  BY_HANDLE_FILE_INFORMATION of_a, of_b;
  return !GetFileInformationByHandle(a, &of_a) || !GetFileInformationByHandle(b, &of_b) ||
         (of_a.dwVolumeSerialNumber == of_b.dwVolumeSerialNumber && of_a.nFileIndexHigh == of_b.nFileIndexHigh &&
          of_a.nFileIndexLow == of_b.nFileIndexLow);
}

// Gives a file that is open with the right to delete it another name. EEXIST if that is taken.
int rename(HANDLE file, const Path& path) noexcept {
  alignas(FILE_RENAME_INFO) unsigned char room[sizeof(FILE_RENAME_INFO) + sizeof path.text] = {};
  auto* const to = reinterpret_cast<FILE_RENAME_INFO*>(room);
  const std::size_t bytes = std::wcslen(path.text) * sizeof(wchar_t);
  to->FileNameLength = static_cast<DWORD>(bytes);
  std::memcpy(to->FileName, path.text, bytes + sizeof(wchar_t));
  return SetFileInformationByHandle(file, FileRenameInfo, to, sizeof room) ? 0 : last_error();
}

}  // namespace

int make(std::uint64_t size, unsigned, int* descriptor) noexcept { return make_nameless(size, descriptor); }

int publish(int descriptor, const char* name) noexcept {
  Path path;
  if (const int error = path.to_file(name)) return error;
  return rename(handle_of(descriptor), path);
}

int make_nameless(std::uint64_t size, int* descriptor) noexcept {
  Path path;
  windows::sweep();
  if (const int error = make_folder(&path)) return error;
  // The system would first take all that is left, and a file system of Unix behind it nothing yet.
  ULARGE_INTEGER room;
  if (GetDiskFreeSpaceExW(path.text, &room, nullptr, nullptr) && size > room.QuadPart) return ENOSPC;
  if (const int error = path.to_nameless()) return error;
  // Temporary: the system writes it to the disk only for want of memory.
  const HANDLE file = CreateFileW(path.text, GENERIC_READ | GENERIC_WRITE | DELETE, kShared, nullptr, CREATE_NEW,
                                  FILE_ATTRIBUTE_TEMPORARY, nullptr);
  if (file == INVALID_HANDLE_VALUE) return last_error();
  FILE_END_OF_FILE_INFO end;
  end.EndOfFile.QuadPart = static_cast<LONGLONG>(size);
  if (!SetFileInformationByHandle(file, FileEndOfFileInfo, &end, sizeof end)) {
    const int error = last_error();
    CloseHandle(file);
    windows::sweep();
    return error;
  }
  *descriptor = windows::descriptor_of(file);
  return 0;
}

// The system lets nobody cut off what is mapped. It has no way to keep the user's other processes from writing.
int seal(int, bool writes) noexcept { return writes ? ENOSYS : 0; }

int open(const char* name, bool writable, int* descriptor) noexcept {
  Path path;
  if (const int error = path.to_file(name)) return error;
  if (const int error = result(CreateFileW(path.text, access_of(writable), kShared, nullptr, OPEN_EXISTING,
                                           FILE_FLAG_OPEN_REPARSE_POINT, nullptr),
                               descriptor)) {
    return error;
  }
  FILE_ATTRIBUTE_TAG_INFO tag;
  if (GetFileInformationByHandleEx(handle_of(*descriptor), FileAttributeTagInfo, &tag, sizeof tag) &&
      (tag.FileAttributes & FILE_ATTRIBUTE_REPARSE_POINT) != 0 && tag.ReparseTag == IO_REPARSE_TAG_SYMLINK) {
    CloseHandle(handle_of(*descriptor));
    return ELOOP;
  }
  return 0;
}

// The system deletes no file that is mapped. So the file gets another name, and the last that has it open deletes it.
int remove(const char* name) noexcept {
  Path path;
  if (const int error = path.to_file(name)) return error;
  const HANDLE file =
      CreateFileW(path.text, DELETE, kShared, nullptr, OPEN_EXISTING, FILE_FLAG_OPEN_REPARSE_POINT, nullptr);
  int error = file == INVALID_HANDLE_VALUE ? last_error() : path.to_nameless();
  if (error == 0) error = rename(file, path);
  if (file != INVALID_HANDLE_VALUE) CloseHandle(file);
  windows::sweep();
  return error;
}

int duplicate(int descriptor, bool writable, int* out) noexcept {
  const HANDLE file = handle_of(descriptor);
  if (GetFileType(file) == FILE_TYPE_DISK) {
    // To read or write nothing tells whether one may.
    DWORD count;
    char none;
    if (!ReadFile(file, &none, 0, &count, nullptr) && GetLastError() == ERROR_ACCESS_DENIED) return EACCES;
    if (writable && !WriteFile(file, &none, 0, &count, nullptr) && GetLastError() == ERROR_ACCESS_DENIED) return EACCES;
  }
  HANDLE same;
  if (!DuplicateHandle(GetCurrentProcess(), file, GetCurrentProcess(), &same, 0, FALSE, DUPLICATE_SAME_ACCESS)) {
    return last_error();
  }
  *out = windows::descriptor_of(same);
  return 0;
}

int reopen(int descriptor, bool writable, int* out) noexcept {
  const HANDLE file = handle_of(descriptor);
  const HANDLE again = ReOpenFile(file, access_of(writable), kShared, 0);
  const int error = result(again, out);
  // It may have been handed over on purpose. And Wine opens what has the name now that the file had when it was opened.
  if (error == EACCES || error == ENOENT) return duplicate(descriptor, writable, out);
  if (error != 0 || same(file, again)) return error;
  CloseHandle(again);
  return duplicate(descriptor, writable, out);
}

int attributes(int descriptor, Attributes* out) noexcept {
  BY_HANDLE_FILE_INFORMATION information = {};
  *out = {};
  if (regular(handle_of(descriptor), &information)) {
    out->bytes = std::uint64_t{information.nFileSizeHigh} << 32 | information.nFileSizeLow;
  }
  // A file that is not sparse has all that it will need.
  out->reserved = (information.dwFileAttributes & FILE_ATTRIBUTE_SPARSE_FILE) == 0;
  out->device = information.dwVolumeSerialNumber;
  out->index = std::uint64_t{information.nFileIndexHigh} << 32 | information.nFileIndexLow;
  return 0;
}

int reserve(int descriptor, std::uint64_t) noexcept {
  BY_HANDLE_FILE_INFORMATION information = {};
  const bool sparse =
      regular(handle_of(descriptor), &information) && (information.dwFileAttributes & FILE_ATTRIBUTE_SPARSE_FILE) != 0;
  return sparse ? ENOTSUP : 0;
}

int read(int descriptor, void* buffer, std::size_t bytes) noexcept { return read_at(descriptor, 0, buffer, bytes); }

int read_at(int descriptor, std::uint64_t offset, void* buffer, std::size_t bytes) noexcept {
  return read_bytes(handle_of(descriptor), offset, buffer, bytes) ? 0 : EIO;
}

int map(int descriptor, std::size_t size, bool writable, void** base) noexcept {
  return windows::map_file(handle_of(descriptor), size, writable, base);
}

void close(int descriptor) noexcept {
  CloseHandle(handle_of(descriptor));
  windows::sweep();
}

// To ask whether somebody has a lock is to take it for a moment. Who wants it meanwhile tries again, for so long.
constexpr std::int64_t kPatience = 200'000'000;  // ns

int Locks::take(int descriptor, unsigned byte) noexcept {
  if (file_.get() < 0) {
    int own;
    if (const int error = reopen(descriptor, true, &own)) return error;
    file_.adopt(own);
  }
  const HANDLE file = handle_of(file_.get());
  for (const std::int64_t end = now() + kPatience; now() < end; SwitchToThread()) {
    if (lock(file, byte, true)) return 0;
    const int error = last_error();
    if (error != EAGAIN) return error;
    if (!lock(file, byte, false)) return EAGAIN;  // it is taken, and not only asked for
    unlock(file, byte);
  }
  return EAGAIN;
}

void Locks::give(unsigned byte) noexcept {
  if (file_.get() >= 0) unlock(handle_of(file_.get()), byte);
}

int locked(int descriptor, unsigned byte, bool* locked) noexcept {
  *locked = !lock(handle_of(descriptor), byte, false);
  if (!*locked) {
    unlock(handle_of(descriptor), byte);
    return 0;
  }
  const int error = last_error();
  return error == EAGAIN ? 0 : error;
}

// The lock ends with the last handle of the opening, and a mapping keeps one: see View.
int hold(int descriptor) noexcept {
  for (const std::int64_t end = now() + kPatience; now() < end; SwitchToThread()) {
    if (lock(handle_of(descriptor), kHolders, false)) return 0;
    const int error = last_error();
    if (error != EAGAIN) return error;
  }
  return EAGAIN;
}

int held(int descriptor, bool* held) noexcept {
  const HANDLE file = handle_of(descriptor);
  // Another one that asks has the lock to himself for a moment. So it is held if it can be had for reading only, a few
  // times in turn.
  *held = true;
  int looks = 0;
  for (const std::int64_t end = now() + kPatience; looks < 3 && now() < end; SwitchToThread()) {
    if (lock(file, kHolders, true)) {
      unlock(file, kHolders);
      *held = false;
      return 0;
    }
    const int error = last_error();
    if (error != EAGAIN) return error;
    if (!lock(file, kHolders, false)) continue;
    unlock(file, kHolders);
    ++looks;
  }
  return 0;
}

namespace {

struct Folder {
  Path path;
  HANDLE search = INVALID_HANDLE_VALUE;
  WIN32_FIND_DATAW found = {};
  bool first = true;
  char name[3 * kMostNameBytes + 1];

  ~Folder() {
    if (search != INVALID_HANDLE_VALUE) FindClose(search);
  }

  bool next() noexcept {
    if (search == INVALID_HANDLE_VALUE) return false;
    if (!first) return FindNextFileW(search, &found) != 0;
    first = false;
    return true;
  }

  // The first bytes of what was found, and its name. False if it could be no segment.
  bool read(void* buffer, std::size_t bytes) noexcept {
    const std::uint64_t size = std::uint64_t{found.nFileSizeHigh} << 32 | found.nFileSizeLow;
    if ((found.dwFileAttributes & (FILE_ATTRIBUTE_DIRECTORY | FILE_ATTRIBUTE_REPARSE_POINT)) != 0 || size <= bytes ||
        found.cFileName[0] == kNameless || std::wcslen(found.cFileName) > kMostNameBytes) {
      return false;
    }
    path.to_pattern(found.cFileName);
    const HANDLE file =
        CreateFileW(path.text, GENERIC_READ, kShared, nullptr, OPEN_EXISTING, FILE_FLAG_OPEN_REPARSE_POINT, nullptr);
    if (file == INVALID_HANDLE_VALUE) return false;
    const bool done = read_bytes(file, 0, buffer, bytes);
    CloseHandle(file);
    for (wchar_t* c = found.cFileName; *c != 0; ++c) {
      if (*c > kElsewhere && *c < kElsewhere + 0x80) *c -= kElsewhere;
    }
    return done && WideCharToMultiByte(CP_UTF8, 0, found.cFileName, -1, name, sizeof name, nullptr, nullptr) > 0;
  }
};

}  // namespace

Names::~Names() { delete static_cast<Folder*>(folder_); }

int Names::open() noexcept {
  auto* folder = new (std::nothrow) Folder;
  if (folder == nullptr) return ENOMEM;
  folder_ = folder;
  windows::sweep();
  if (const int error = folder->path.to_folder()) return error;
  folder->path.to_pattern(L"*");
  folder->search = FindFirstFileW(folder->path.text, &folder->found);
  if (folder->search != INVALID_HANDLE_VALUE) return 0;
  const int error = last_error();
  return error == ENOENT ? 0 : error;  // nobody has made the folder yet
}

const char* Names::next(void* buffer, std::size_t bytes) noexcept {
  auto* folder = static_cast<Folder*>(folder_);
  while (folder->next()) {
    if (folder->read(buffer, bytes)) return folder->name;
  }
  return nullptr;
}

}  // namespace share

namespace windows {

// To open a file and share it with nobody fails if somebody has it open. All who use a segment have: see View.
void sweep() noexcept {
  share::Path path;
  if (path.to_folder() != 0) return;
  const wchar_t pattern[] = {share::kNameless, L'*', 0};
  path.to_pattern(pattern);
  WIN32_FIND_DATAW found;
  const HANDLE search = FindFirstFileW(path.text, &found);
  if (search == INVALID_HANDLE_VALUE) return;
  do {
    if (found.cFileName[0] != share::kNameless || std::wcslen(found.cFileName) > share::kMostNameBytes) continue;
    path.to_pattern(found.cFileName);
    const HANDLE file = CreateFileW(path.text, DELETE, 0, nullptr, OPEN_EXISTING,
                                    FILE_FLAG_DELETE_ON_CLOSE | FILE_FLAG_OPEN_REPARSE_POINT, nullptr);
    if (file != INVALID_HANDLE_VALUE) CloseHandle(file);
  } while (FindNextFileW(search, &found));
  FindClose(search);
}

}  // namespace windows
}  // namespace judemap

#endif  // _WIN32

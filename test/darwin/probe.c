/* Prints what there is on this macOS of the calls that the core makes there, by making them as it does: which functions
 * park a thread, that they wake one of another process by a word in a mapped file, and what files and their locks do.
 * It fails if something is missing that the core can't do without. */

#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdatomic.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

typedef int sync_wait(void*, uint64_t, size_t, uint32_t, uint32_t, uint64_t);
typedef int sync_wake(void*, size_t, uint32_t);
typedef int ulock_wait(uint32_t, void*, uint64_t, uint32_t);
typedef int ulock_wake(uint32_t, void*, uint64_t);

static sync_wait* os_wait;
static sync_wake* os_wake;
static ulock_wait* u_wait;
static ulock_wake* u_wake;

static int failures;

static void report(const char* what, int works) {
  printf("%-64s %s\n", what, works ? "yes" : "NO");
  if (!works) ++failures;
}

static void* function(const char* name) {
  void* const found = dlsym(RTLD_DEFAULT, name);
  printf("%-64s %s\n", name, found != NULL ? "there" : "not there");
  return found;
}

/* Parks on a word that is 0, for 5 s at most, with os_sync_wait_on_address or with __ulock_wait. */
static void park(int with_ulock, void* word) {
  if (with_ulock) {
    u_wait(3 | 0x1000000, word, 0, 5000000);
  } else {
    os_wait(word, 0, 4, 1, 32, 5000000000u);
  }
}

static int wake(int with_ulock, void* word) {
  return with_ulock ? u_wake(3 | 0x100 | 0x1000000, word, 0) >= 0 : os_wake(word, 4, 1) == 0;
}

static double seconds(void) {
  struct timespec time;
  clock_gettime(CLOCK_MONOTONIC, &time);
  return (double)time.tv_sec + (double)time.tv_nsec / 1e9;
}

/* A child maps the file for itself, read-only, and parks on its second word; the first counts how far it is. */
static void across_processes(const char* path, int with_ulock) {
  const int file = open(path, O_RDWR);
  _Atomic uint32_t* const words = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED, file, 0);
  if (file < 0 || words == MAP_FAILED) {
    report("mapping a file", 0);
    return;
  }
  words[0] = words[1] = 0;
  const pid_t child = fork();
  if (child == 0) {
    const int own = open(path, O_RDONLY);
    const _Atomic uint32_t* const read_only = mmap(NULL, 4096, PROT_READ, MAP_SHARED, own, 0);
    if (own < 0 || read_only == MAP_FAILED) _exit(2);
    const double begun = seconds();
    words[0] = 1;
    while (read_only[1] == 0 && seconds() - begun < 4) park(with_ulock, (void*)(uintptr_t)&read_only[1]);
    _exit(seconds() - begun < 4 ? 0 : 1);
  }
  while (words[0] == 0) usleep(1000);
  usleep(200000);
  const int nobody = wake(with_ulock, (void*)&words[2]);
  words[1] = 1;
  const double begun = seconds();
  const int woken = wake(with_ulock, (void*)&words[1]);
  int status = -1;
  waitpid(child, &status, 0);
  const char* const name = with_ulock ? "__ulock_wake" : "os_sync_wake_by_address_all";
  char line[128];
  snprintf(line, sizeof line, "%s wakes another process, read-only", name);
  report(line, woken && status == 0 && seconds() - begun < 1);
  snprintf(line, sizeof line, "%s tells that nobody is parked", name);
  report(line, !nobody);
  munmap((void*)words, 4096);
  close(file);
}

static int lock(int file, short type, off_t byte) {
  struct flock lock = {.l_type = type, .l_whence = SEEK_SET, .l_start = byte, .l_len = 1};
  return fcntl(file, 90, &lock); /* F_OFD_SETLK */
}

static int locked(int file, off_t byte) {
  struct flock lock = {.l_type = F_RDLCK, .l_whence = SEEK_SET, .l_start = byte, .l_len = 1};
  return fcntl(file, 92, &lock) == 0 ? lock.l_type != F_UNLCK : -1; /* F_OFD_GETLK */
}

static void locks(const char* path) {
  const off_t far = (off_t)1 << 62;
  const int a = open(path, O_RDWR), b = open(path, O_RDWR), c = open(path, O_RDONLY);
  report("F_OFD_SETLK takes a lock", lock(a, F_WRLCK, 0) == 0);
  report("F_OFD_SETLK refuses it to another opening of the same process",
         lock(b, F_WRLCK, 0) != 0 && (errno == EAGAIN || errno == EACCES));
  report("F_OFD_GETLK sees it, also through a descriptor for reading", locked(b, 0) == 1 && locked(c, 0) == 1);
  report("F_OFD_GETLK doesn't see this opening's own", locked(a, 0) == 0);
  report("another byte is another lock", lock(b, F_WRLCK, 1) == 0);
  report("a lock for reading is no lock for writing", lock(c, F_RDLCK, 2) == 0 && locked(a, 2) == 0);
  report("locks far behind the file's end",
         lock(a, F_RDLCK, far) == 0 && lock(c, F_RDLCK, far) == 0 && lock(b, F_WRLCK, far) != 0);
  close(open(path, O_RDWR));
  report("closing another opening keeps the lock", locked(b, 0) == 1);
  const pid_t child = fork();
  if (child == 0) {
    const int own = open(path, O_RDWR);
    _exit(lock(own, F_WRLCK, 3) == 0 ? 0 : 1);
  }
  int status = -1;
  waitpid(child, &status, 0);
  report("a lock ends with its process", status == 0 && locked(a, 3) == 0);
  close(a);
  report("closing drops the lock", locked(b, 0) == 0);
  close(b);
  close(c);
}

static void names(const char* path, const char* other, const char* third) {
  const int file = open(path, O_RDWR);
  char found[PATH_MAX];
  report("F_GETPATH names an open file",
         fcntl(file, F_GETPATH, found) == 0 && strstr(found, strrchr(path, '/')) != NULL);
  close(open(third, O_RDWR | O_CREAT, 0600));
  report("renamex_np refuses a name that is taken", renamex_np(path, third, RENAME_EXCL) != 0 && errno == EEXIST);
  unlink(third);
  report("renamex_np renames", renamex_np(path, other, RENAME_EXCL) == 0);
  report("F_GETPATH follows it", fcntl(file, F_GETPATH, found) == 0 && strstr(found, strrchr(other, '/')) != NULL);
  fstore_t room = {F_ALLOCATEALL, F_PEOFPOSMODE, 0, 1 << 20, 0};
  const int fresh = open(third, O_RDWR | O_CREAT | O_EXCL, 0600);
  report("F_PREALLOCATE takes room on the disk", fcntl(fresh, F_PREALLOCATE, &room) == 0);
  struct stat status;
  report("ftruncate keeps it",
         ftruncate(fresh, 1 << 20) == 0 && fstat(fresh, &status) == 0 && status.st_blocks * 512 >= 1 << 20);
  room.fst_length = (off_t)1 << 50;
  report("F_PREALLOCATE refuses more than there is", fcntl(fresh, F_PREALLOCATE, &room) != 0 && errno == ENOSPC);
  char* const map = mmap(NULL, 1 << 20, PROT_READ | PROT_WRITE, MAP_SHARED, fresh, 0);
  report("a mapping of it is replaced by MAP_FIXED",
         map != MAP_FAILED && mmap(map, 1 << 20, PROT_READ, MAP_PRIVATE | MAP_ANON | MAP_FIXED, -1, 0) == (void*)map);
  unlink(third);
  unlink(other);
  printf("%-64s %s\n", "F_GETPATH of a deleted file gives",
         fcntl(file, F_GETPATH, found) == 0 ? found : strerror(errno));
  close(fresh);
  close(file);
}

int main(void) {
  char folder[PATH_MAX], path[PATH_MAX + 64], other[PATH_MAX + 64], third[PATH_MAX + 64];
  report("the user has a folder for caches", confstr(_CS_DARWIN_USER_CACHE_DIR, folder, sizeof folder) > 1);
  struct stat status;
  report("it is the user's alone",
         stat(folder, &status) == 0 && status.st_uid == geteuid() && (status.st_mode & 077) == 0);
  printf("%-64s %s\n", "the folder", folder);
  printf("%-64s %ld\n", "bytes of a page", sysconf(_SC_PAGESIZE));
  os_wait = (sync_wait*)function("os_sync_wait_on_address_with_timeout");
  os_wake = (sync_wake*)function("os_sync_wake_by_address_all");
  u_wait = (ulock_wait*)function("__ulock_wait");
  u_wake = (ulock_wake*)function("__ulock_wake");

  snprintf(path, sizeof path, "%s/judemap-probe-%ld", folder, (long)getpid());
  snprintf(other, sizeof other, "%s/judemap-probe-%ld-b", folder, (long)getpid());
  snprintf(third, sizeof third, "%s/judemap-probe-%ld-c", folder, (long)getpid());
  const int file = open(path, O_RDWR | O_CREAT | O_EXCL, 0600);
  report("making a file", file >= 0 && ftruncate(file, 1 << 16) == 0);
  close(file);
  const int has_os = os_wait != NULL && os_wake != NULL, has_ulock = u_wait != NULL && u_wake != NULL;
  report("one pair of them is there", has_os || has_ulock);
  if (has_os) across_processes(path, 0);
  if (has_ulock) across_processes(path, 1);
  locks(path);
  names(path, other, third);
  printf("%d failed\n", failures);
  return failures == 0 ? 0 : 1;
}

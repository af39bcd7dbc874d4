// A named segment's file, mapped into this process. Node's fs opens it; koffi makes the calls that Node has none for.
// The numbers are those of Linux on x86-64 and arm64.
// @ts-check
import { constants } from 'node:buffer';
import fs from 'node:fs';
import path from 'node:path';
import { getSystemErrorName } from 'node:util';
import koffi from 'koffi';

const libc = koffi.load(null);
const mmap = libc.func('void *mmap(void *address, size_t length, int protection, int flags, int file, int64_t offset)');
const munmap = libc.func('int munmap(void *address, size_t length)');
const posix_fallocate = libc.func('int posix_fallocate(int file, int64_t offset, int64_t length)');
const linkat = libc.func('int linkat(int folder, const char *from, int folder2, const char *to, int flags)');
const fcntl = libc.func('int fcntl(int file, int command, ...)');

const PROT_READ = 1, PROT_WRITE = 2;
const MAP_SHARED = 1, MAP_PRIVATE = 2, MAP_FIXED = 0x10, MAP_ANONYMOUS = 0x20, MAP_NORESERVE = 0x4000;
const MAP_FAILED = 2n ** 64n - 1n;
const O_TMPFILE = 0o20000000 | fs.constants.O_DIRECTORY;
const AT_FDCWD = -100, AT_SYMLINK_FOLLOW = 0x400;
const F_OFD_SETLK = 37, F_WRLCK = 1;

const FOLDER = '/dev/shm';

/** What is wrong with a segment, or with how it is used. `code` is a word for programs, the message is for people. */
export class SegmentError extends Error {
  /** @param {'BUSY'|'CAPACITY'|'CLOSED'|'CORRUPT'|'DTYPE'|'NAME'|'SHAPE'|'WRITER'} code @param {string} message */
  constructor(code, message) {
    super(message);
    this.name = 'SegmentError';
    this.code = code;
  }
}

/** The system's error, as those of fs are: with its name as `code`. @param {number} errno @param {string} what */
function systemError(errno, what) {
  const code = getSystemErrorName(-errno);
  return Object.assign(new Error(`${what}: ${code}`), { code, errno: -errno });
}

/** @param {string} name @returns {string} the path of the file that has the name */
export function pathOf(name) {
  if (name === '' || name === '.' || name === '..' || /[/\0]/.test(name) || Buffer.byteLength(name) > 255) {
    throw new SegmentError('NAME', `the name ${JSON.stringify(name)} is not 1 to 255 bytes without a slash`);
  }
  return path.join(FOLDER, name);
}

/**
 * Makes a file of zeros, which is a plain segment without a tensor. It appears under its name when all of its memory is
 * there, and a process that dies meanwhile leaves nothing.
 * @param {string} name @param {number} bytes @param {number} mode
 */
export function createFile(name, bytes, mode) {
  const file = fs.openSync(FOLDER, O_TMPFILE | fs.constants.O_RDWR, 0o600);
  try {
    fs.fchmodSync(file, mode); // the umask does not apply
    reserve(file, bytes, name);
    if (linkat(AT_FDCWD, `/proc/self/fd/${file}`, AT_FDCWD, pathOf(name), AT_SYMLINK_FOLLOW) !== 0) {
      throw systemError(koffi.errno(), `creating segment ${name}`);
    }
  } finally {
    fs.closeSync(file);
  }
}

/** Without memory behind it, a store to a page kills the process where there is no room. */
function reserve(/** @type {number} */ file, /** @type {number} */ bytes, /** @type {string} */ name) {
  const errno = posix_fallocate(file, 0, bytes);
  if (errno !== 0) throw systemError(errno, `reserving ${bytes} bytes for segment ${name}`);
}

// Unmaps what nobody can reach any more: neither the buffer nor a view of it.
const unreachable = new FinalizationRegistry(({ address, length, file }) => {
  munmap(address, length);
  if (file.descriptor >= 0) fs.closeSync(file.descriptor);
});

/** The bytes of a segment's file, in this process. Worker threads map it anew, each for itself. */
export class Mapping {
  #address; // a BigInt, as all of koffi's pointers
  #length = 0; // bytes
  #file = { descriptor: -1 };

  /** @param {string} name @param {boolean} write for writing too: a store through a mapping for reading kills the process */
  constructor(name, write) {
    const { O_RDWR, O_RDONLY, O_NOFOLLOW, O_NONBLOCK } = fs.constants;
    this.name = name;
    const file = fs.openSync(pathOf(name), (write ? O_RDWR : O_RDONLY) | O_NOFOLLOW | O_NONBLOCK);
    try {
      const status = fs.fstatSync(file);
      if (!status.isFile() || status.size <= 256) {
        const why = status.isFile() ? `it has ${status.size} bytes` : 'it is no file';
        throw new SegmentError('CORRUPT', `${name} is no segment: ${why}`);
      }
      if (status.size > constants.MAX_LENGTH) {
        throw new SegmentError('CAPACITY', `${name} has ${status.size} bytes, and a typed array at most ${constants.MAX_LENGTH}`);
      }
      if (write) {
        reserve(file, status.size, name);
      } else if (status.blocks * 512 < status.size) {
        throw new SegmentError('CORRUPT', `${name} has ${status.size} bytes, and memory for ${status.blocks * 512} of them`);
      }
      this.#address = mmap(null, status.size, PROT_READ | (write ? PROT_WRITE : 0), MAP_SHARED, file, 0);
      if (this.#address === MAP_FAILED) throw systemError(koffi.errno(), `mapping ${name}`);
      this.#length = status.size;
      /** The segment's own memory: no copy. Don't transfer it to a worker: the mapping goes when this buffer goes. */
      this.buffer = koffi.view(this.#address, this.#length);
      unreachable.register(this.buffer, { address: this.#address, length: this.#length, file: this.#file });
      this.#file.descriptor = file;
    } finally {
      if (this.#file.descriptor < 0) fs.closeSync(file);
    }
    this.closed = false;
  }

  /** Takes the lock that the one writer of a segment holds. The kernel drops it when the process ends, however it does. */
  lock() {
    const lock = new BigInt64Array(4); // struct flock: type, from where, start, length, process
    new Int16Array(lock.buffer)[0] = F_WRLCK;
    lock[2] = 1n; // byte 0 of the file
    if (fcntl(this.#file.descriptor, F_OFD_SETLK, 'void *', lock) === 0) return;
    const errno = koffi.errno();
    if (errno !== koffi.os.errno.EAGAIN && errno !== koffi.os.errno.EACCES) throw systemError(errno, `locking ${this.name}`);
    throw new SegmentError('WRITER', `another process, or another Segment of this one, is the writer of ${this.name}`);
  }

  /**
   * Gives the memory and the lock back. Views that are still about read zeros from then on: the addresses stay theirs until
   * the last of them is collected.
   */
  close() {
    if (this.closed) return;
    this.closed = true;
    mmap(this.#address, this.#length, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED | MAP_NORESERVE, -1, 0);
    fs.closeSync(this.#file.descriptor);
    this.#file.descriptor = -1;
  }
}

// A named segment: one tensor, which one writer commits and any number of readers read.
// @ts-check
import fs from 'node:fs';
import { Mapping, SegmentError, createFile, pathOf } from './memory.js';
import { Readable } from './reading.js';
import { DATA_OFFSET, Seqlock, bytesOf } from './seqlock.js';

export { SegmentError };

const MAGIC = 0x314d554a; // "JUM1"
const STREAM_MAGIC = 0x3153554a; // "JUS1"

// Where a segment of judemap's has its coordination block, in 32-bit words; jude-map's are plain and have none.
const MAGIC_WORD = 48, FLAGS_WORD = 49;
const WRITERS_WAKE = 1, WRITER_ATTACHED = 2;

/** A segment that this process has open. Close it; one that is forgotten is closed when it is collected. */
export class Segment extends Readable {
  #mapping;
  #memory;
  #flags; // nothing in a plain segment
  #write;

  /**
   * Opens the segment of this name: judemap's, jude-map's, or one of create.
   * @param {string} name @param {{write?: boolean}} [options] write: to be its one writer, from now until close
   */
  static open(name, { write = false } = {}) {
    return new Segment(new Mapping(name, write), write);
  }

  /**
   * Makes a plain segment, as jude-map does, and opens it for writing. Readers poll it.
   * @param {string} name @param {number} capacity bytes of tensor @param {{mode?: number}} [options] the file's permissions
   */
  static create(name, capacity, { mode = 0o600 } = {}) {
    if (!Number.isSafeInteger(capacity) || capacity <= 0) {
      throw new SegmentError('CAPACITY', `a segment for ${capacity} bytes can't be made`);
    }
    createFile(name, DATA_OFFSET + capacity, mode);
    return Segment.open(name, { write: true });
  }

  /** What a writer wants that may be started again: the segment of this name, made if it isn't there. */
  static openOrCreate(/** @type {string} */ name, /** @type {number} */ capacity) {
    for (;;) {
      try {
        return Segment.open(name, { write: true });
      } catch (error) {
        if (error.code !== 'ENOENT') throw error;
      }
      try {
        return Segment.create(name, capacity);
      } catch (error) {
        if (error.code !== 'EEXIST') throw error; // else another process was quicker
      }
    }
  }

  /** Takes a segment's name away, or a stream's. Who has it open keeps it. */
  static remove(/** @type {string} */ name) {
    fs.unlinkSync(pathOf(name));
  }

  /** @param {Mapping} mapping @param {boolean} write */
  constructor(mapping, write) {
    super();
    this.#mapping = mapping;
    this.#write = write;
    try {
      const words = new Uint32Array(mapping.buffer, 0, DATA_OFFSET / 4);
      const magic = words[MAGIC_WORD];
      let capacity = mapping.buffer.byteLength - DATA_OFFSET;
      if (magic === MAGIC) {
        const stated = new BigUint64Array(mapping.buffer, 208, 1)[0];
        if (stated === 0n || stated > capacity) {
          throw new SegmentError('CORRUPT', `${mapping.name} states a capacity of ${stated} bytes, and has ${capacity}`);
        }
        capacity = Number(stated);
        this.#flags = words.subarray(FLAGS_WORD, FLAGS_WORD + 1);
      } else if (magic !== 0) {
        const kind = magic === STREAM_MAGIC ? 'a stream: use Stream.open' : 'no segment';
        throw new SegmentError('CORRUPT', `${mapping.name} is ${kind}`);
      }
      this.#memory = new Seqlock(mapping.buffer, 0, capacity);
      if (write) this.#becomeWriter();
    } catch (error) {
      mapping.close();
      throw error;
    }
  }

  #becomeWriter() {
    if (this.#flags && Atomics.load(this.#flags, 0) & WRITERS_WAKE) {
      throw new SegmentError('WRITER', `${this.#mapping.name} is one whose writers wake parked readers, and Node's don't: ` +
        'it has to be made WithForeignWriters');
    }
    this.#mapping.lock();
    // After the lock, and taken back before it is let go: the flag without the lock is a writer that died.
    if (this.#flags) Atomics.or(this.#flags, 0, WRITER_ATTACHED);
  }

  /** Bytes of tensor that it has room for. */
  get capacity() {
    return this.#memory.capacity;
  }

  /** The file's bytes, for a library that takes them, such as jude-map: new SharedTensor(new Uint8Array(buffer), false). */
  get buffer() {
    return this.#mapping.buffer;
  }

  version() {
    this.#check();
    return this.#memory.version();
  }

  /** @param {boolean} copy */
  attempt(copy) {
    this.#check();
    return this.#memory.attempt(copy);
  }

  /**
   * Commits a copy of `data`: a typed array of the dtype's kind, or a Uint8Array of the bytes.
   * @param {readonly number[]} shape @param {string} dtype @param {import('./seqlock.js').Elements} data
   */
  write(shape, dtype, data) {
    this.#check();
    const bytes = bytesOf(shape, dtype, data); // before readers have to wait
    this.update(shape, dtype, (elements) => new Uint8Array(elements.buffer, elements.byteOffset, elements.byteLength).set(bytes));
  }

  /**
   * Commits a tensor that `fill` writes in place: it gets the elements, as the tensor before left them. Readers wait for it; if
   * it throws, they find no tensor.
   * @param {readonly number[]} shape @param {string} dtype @param {(elements: any) => void} fill
   */
  update(shape, dtype, fill) {
    this.#check();
    if (!this.#write) throw new SegmentError('WRITER', `${this.#mapping.name} was opened for reading`);
    this.#memory.commit(shape, dtype, fill);
  }

  /** Gives memory and lock back. Views read zeros from then on. The segment lives on under its name, see remove. */
  close() {
    if (this.#mapping.closed) return;
    if (this.#write && this.#flags) Atomics.and(this.#flags, 0, ~WRITER_ATTACHED);
    this.#mapping.close();
  }

  #check() {
    if (this.#mapping.closed) throw new SegmentError('CLOSED', `${this.#mapping.name} is closed`);
  }
}

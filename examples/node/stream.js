// A named stream: a row of segments, its slots, and a header that says which of them has the newest frame.
// @ts-check
import { Mapping, SegmentError } from './memory.js';
import { Readable } from './reading.js';
import { DATA_OFFSET, Seqlock } from './seqlock.js';

const STREAM_MAGIC = 0x3153554a; // "JUS1"

/**
 * A stream that is read as copies of its newest frame. Such a reader has no place among the readers and holds no slot: the
 * writer doesn't wait for it, also where every frame counts, and a view of read() is good until the writer has gone round.
 * A frame's number is half its version.
 */
export class Stream extends Readable {
  #mapping;
  #sequence;
  #table;
  #slots;

  /** Opens the stream of this name, for reading. */
  static open(/** @type {string} */ name) {
    return new Stream(new Mapping(name, false));
  }

  /** @param {Mapping} mapping */
  constructor(mapping) {
    super();
    this.#mapping = mapping;
    const { name, buffer } = mapping;
    try {
      const words = new DataView(buffer);
      if (words.getUint32(192, true) !== STREAM_MAGIC) throw new SegmentError('CORRUPT', `${name} is no stream`);
      const capacity = Number(words.getBigUint64(208, true));
      const slots = words.getUint32(216, true);
      const first = Number(words.getBigUint64(224, true));
      const stride = Number(words.getBigUint64(232, true));
      if (slots < 2 || slots > 256 || first < 8192 || first % 4096 !== 0 || stride % 4096 !== 0 || capacity === 0 ||
          stride < DATA_OFFSET + capacity || first + slots * stride > buffer.byteLength) {
        throw new SegmentError('CORRUPT', `${name} can't have ${slots} slots for ${capacity} bytes at ${first} + i * ${stride} ` +
          `within ${buffer.byteLength}`);
      }
      this.#sequence = new BigUint64Array(buffer, 0, 1);
      this.#table = new Uint32Array(buffer, 1024, slots);
      this.#slots = Array.from({ length: slots }, (_, i) => new Seqlock(buffer, first + i * stride, capacity));
    } catch (error) {
      mapping.close();
      throw error;
    }
  }

  version() {
    if (this.#mapping.closed) throw new SegmentError('CLOSED', `${this.#mapping.name} is closed`);
    return Atomics.load(this.#sequence, 0);
  }

  /** @param {boolean} copy */
  attempt(copy) {
    const version = this.version();
    if (version === 0n) return null;
    const number = Atomics.load(this.#table, Number((version / 2n) % BigInt(this.#slots.length)));
    const slot = this.#slots[number];
    if (!slot) {
      throw new SegmentError('CORRUPT', `corrupt stream: frame ${version / 2n} is in slot ${number} of ${this.#slots.length}`);
    }
    const frame = slot.attempt(copy);
    // The slot of a frame that many frames have followed since may hold a later one by now, or none yet.
    return frame && frame.version >= version ? frame : undefined;
  }

  /** Gives the memory back. Views read zeros from then on. */
  close() {
    this.#mapping.close();
  }
}

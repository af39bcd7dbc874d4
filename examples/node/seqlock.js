// A tensor in a range of memory that another process writes or reads at the same time: a segment, or a slot of a stream.
// docs/layout.md has the bytes.
// @ts-check
import { SegmentError } from './memory.js';

/** Bytes from the start of a segment to its data. */
export const DATA_OFFSET = 256;
const MAX_DIMS = 8;

/**
 * @typedef {Float32Array | Float64Array | Int32Array | BigInt64Array | Uint8Array | Int8Array | Uint16Array | Int16Array |
 *   Uint32Array | BigUint64Array} Elements
 */

/**
 * The element types by their numbers. The first nine are jude-map's. JavaScript has no floats of 8 and 16 bits everywhere:
 * those are given as their bits; and a complex64 is two elements, the real part and the imaginary one.
 * @type {ReadonlyArray<{name: string, bytes: number, array: any}>}
 */
export const DTYPES = [
  { name: 'float32', bytes: 4, array: Float32Array },
  { name: 'float64', bytes: 8, array: Float64Array },
  { name: 'int32', bytes: 4, array: Int32Array },
  { name: 'int64', bytes: 8, array: BigInt64Array },
  { name: 'uint8', bytes: 1, array: Uint8Array },
  { name: 'int8', bytes: 1, array: Int8Array },
  { name: 'uint16', bytes: 2, array: Uint16Array },
  { name: 'int16', bytes: 2, array: Int16Array },
  { name: 'bool', bytes: 1, array: Uint8Array },
  { name: 'float16', bytes: 2, array: Uint16Array },
  { name: 'bfloat16', bytes: 2, array: Uint16Array },
  { name: 'uint32', bytes: 4, array: Uint32Array },
  { name: 'uint64', bytes: 8, array: BigUint64Array },
  { name: 'float8_e4m3fn', bytes: 1, array: Uint8Array },
  { name: 'float8_e5m2', bytes: 1, array: Uint8Array },
  { name: 'complex64', bytes: 8, array: Float32Array },
];

/**
 * A tensor as it was at one version: a view of the segment's memory, or a copy.
 * @typedef {object} Tensor
 * @property {number[]} shape the dimensions, in elements, row-major
 * @property {string} dtype the element type's name
 * @property {any} data a typed array of the elements (see DTYPES); don't store to that of a view
 * @property {bigint} version the sequence at the time: even, 2 more for each commit
 * @property {() => boolean} valid whether no commit has begun since: ask after using a view. A copy is always valid
 */

// What C++ has fences for. On arm64 plain loads and stores of a typed array may pass an atomic store before them or an
// atomic load behind them: a store with release (stlr) holds back only what comes before it, a load with acquire (ldar)
// only what comes after it. The processor keeps such a store and such a load in their order, so that both together, in this
// order, hold back everything on either side. On x86-64 the store alone does. The word is our own, so that nobody else's
// cache line moves. The JavaScript standard promises nothing for plain accesses that race: this rests on the code that V8
// makes. It was tested on x86-64, and not on arm64.
const own = new Int32Array(new SharedArrayBuffer(4));
function fence() {
  Atomics.store(own, 0, 0);
  Atomics.load(own, 0);
}

/**
 * What of a header can't be true: the field's name; or 'none' if it says that there is no tensor, or 'ok'.
 * @param {number} ndim @param {number} dtype @param {bigint} byteLength
 * @param {ArrayLike<bigint> & Iterable<bigint>} shape the first `ndim` dimensions @param {bigint} capacity
 */
export function judge(ndim, dtype, byteLength, shape, capacity) {
  if (ndim === 0 && dtype === 0 && byteLength === 0n) return 'none';
  if (ndim > MAX_DIMS) return 'ndim';
  if (dtype >= DTYPES.length) return 'dtype';
  let bytes = BigInt(DTYPES[dtype].bytes);
  for (const n of shape) {
    if (n >= 2n ** 63n) return 'shape';
    bytes *= n;
  }
  if (bytes >= 2n ** 63n) return 'shape';
  return bytes === byteLength && bytes <= capacity ? 'ok' : 'byte_length';
}

/** A dtype's number, and a tensor's bytes. @param {readonly number[]} shape @param {string} dtype */
function sizeOf(shape, dtype) {
  const number = DTYPES.findIndex(({ name }) => name === dtype);
  if (number < 0) throw new SegmentError('DTYPE', `unknown element type ${dtype}`);
  if (shape.length > MAX_DIMS || !shape.every((n) => Number.isSafeInteger(n) && n >= 0)) {
    throw new SegmentError('SHAPE', `the shape [${shape.join(' ')}] is not of 0 to ${MAX_DIMS} whole numbers`);
  }
  return { number, byteLength: shape.reduce((bytes, n) => bytes * BigInt(n), BigInt(DTYPES[number].bytes)) };
}

/**
 * The bytes of data for a tensor of this shape and type: of a typed array of the type's kind, or one of bytes.
 * @param {readonly number[]} shape @param {string} dtype @param {ArrayBufferView} data
 */
export function bytesOf(shape, dtype, data) {
  const { number, byteLength } = sizeOf(shape, dtype);
  const kind = ArrayBuffer.isView(data) ? data[Symbol.toStringTag] : typeof data;
  if (![DTYPES[number].array.name, 'Uint8Array', 'Uint8ClampedArray'].includes(kind)) {
    throw new SegmentError('DTYPE', `${dtype} takes a ${DTYPES[number].array.name} or a Uint8Array of its bytes, not a ${kind}`);
  }
  if (BigInt(data.byteLength) !== byteLength) {
    throw new SegmentError('SHAPE', `a ${dtype} tensor [${shape.join(' ')}] has ${byteLength} bytes, not ${data.byteLength}`);
  }
  return new Uint8Array(data.buffer, data.byteOffset, data.byteLength);
}

/** One segment within a buffer. */
export class Seqlock {
  #sequence;
  #words32;
  #words64;
  #buffer;
  #start;

  /** @param {ArrayBuffer} buffer @param {number} start where the segment begins @param {number} capacity bytes of tensor */
  constructor(buffer, start, capacity) {
    this.#sequence = new BigUint64Array(buffer, start, 1);
    this.#words32 = new Uint32Array(buffer, start, DATA_OFFSET / 4);
    this.#words64 = new BigUint64Array(buffer, start, DATA_OFFSET / 8);
    this.#buffer = buffer;
    this.#start = start + DATA_OFFSET;
    this.capacity = capacity;
  }

  version() {
    return Atomics.load(this.#sequence, 0);
  }

  /** Whether no commit has begun since `version` was read, and what was loaded of the tensor since. @param {bigint} version */
  unchanged(version) {
    fence();
    return this.version() === version;
  }

  /**
   * One attempt at a tensor: undefined if a commit was in progress or came in between, null if there is no tensor.
   * @param {boolean} copy to copy the data, within what the sequence guards
   * @returns {Tensor | null | undefined}
   */
  attempt(copy) {
    const version = this.version();
    if (version & 1n) return undefined;
    const ndim = this.#words32[16];
    const number = this.#words32[17];
    const shape = this.#words64.slice(9, 9 + Math.min(ndim, MAX_DIMS));
    const byteLength = this.#words64[17];
    const bytes = byteLength <= this.capacity ? Number(byteLength) : 0; // nonsense, or torn: which, is known below
    const data = copy ? this.#buffer.slice(this.#start, this.#start + bytes) : this.#buffer;
    if (!this.unchanged(version)) return undefined;

    const verdict = judge(ndim, number, byteLength, shape, BigInt(this.capacity));
    if (verdict === 'none') return null;
    if (verdict !== 'ok') {
      throw new SegmentError('CORRUPT', `corrupt segment: its ${verdict} can't be true: ndim ${ndim}, dtype ${number}, ` +
        `shape [${shape.join(' ')}], byte_length ${byteLength}, capacity ${this.capacity}`);
    }
    const dimensions = Array.from(shape, Number);
    if (!dimensions.every(Number.isSafeInteger)) { // of an empty tensor: the others are smaller
      throw new SegmentError('SHAPE', `the shape [${shape.join(' ')}] has a dimension above 2^53`);
    }
    const dtype = DTYPES[number];
    return {
      shape: dimensions,
      dtype: dtype.name,
      data: new dtype.array(data, copy ? 0 : this.#start, bytes / dtype.array.BYTES_PER_ELEMENT),
      version,
      valid: copy ? () => true : () => this.unchanged(version),
    };
  }

  /**
   * Commits a tensor that `fill` writes in place. The caller is the only writer. If `fill` throws, readers find no tensor.
   * @param {readonly number[]} shape @param {string} dtype @param {(data: any) => void} fill gets the elements, as the tensor
   * before left them
   */
  commit(shape, dtype, fill) {
    const { number, byteLength } = sizeOf(shape, dtype);
    if (byteLength > this.capacity) {
      throw new SegmentError('CAPACITY', `a tensor of ${byteLength} bytes is larger than the segment's ${this.capacity}`);
    }
    const { array } = DTYPES[number];
    const data = new array(this.#buffer, this.#start, Number(byteLength) / array.BYTES_PER_ELEMENT);

    // It is odd already where a writer died in the middle of a commit: this one then takes its place.
    const odd = this.version() | 1n;
    Atomics.store(this.#sequence, 0, odd);
    fence(); // no store of the tensor before that one
    let filled = false;
    try {
      this.#describe(shape, number, byteLength);
      fill(data);
      filled = true;
    } finally {
      if (!filled) this.#describe([], 0, 0n);
      Atomics.store(this.#sequence, 0, odd + 1n); // after all stores before it
    }
  }

  #describe(/** @type {readonly number[]} */ shape, /** @type {number} */ dtype, /** @type {bigint} */ byteLength) {
    this.#words32[16] = shape.length;
    this.#words32[17] = dtype;
    for (let i = 0; i < MAX_DIMS; i++) this.#words64[9 + i] = BigInt(shape[i] ?? 0);
    this.#words64[17] = byteLength;
  }
}

// What a segment and a stream have in common: how tensors are read, and waited for.
// @ts-check
import { setImmediate, setTimeout } from 'node:timers/promises';
import { SegmentError } from './memory.js';

/** @typedef {import('./seqlock.js').Tensor} Tensor */

/** How long read and readCopy try, in milliseconds, and for how long next takes one commit to be in progress. */
const PATIENCE = 1000;

/** Something that tensors are read from. */
export class Readable {
  /** The newest tensor's version: 0 before the first commit, 2 more after each. @returns {bigint} */
  version() {
    throw new Error('version is the subclass\'s');
  }

  /** One attempt, as Seqlock's. @param {boolean} copy @returns {Tensor | null | undefined} */
  attempt(copy) { // eslint-disable-line no-unused-vars
    throw new Error('attempt is the subclass\'s');
  }

  /**
   * The newest tensor, as a view: no copy. The writer overwrites it when it comes round; use it, then ask valid(). null if
   * there is no tensor.
   */
  read() {
    return this.#read(false);
  }

  /** A copy of the newest tensor, never torn; null if there is no tensor. */
  readCopy() {
    return this.#read(true);
  }

  #read(/** @type {boolean} */ copy) {
    const end = performance.now() + PATIENCE;
    do {
      const tensor = this.attempt(copy);
      if (tensor !== undefined) return tensor;
    } while (performance.now() < end);
    throw this.#busy();
  }

  /**
   * A copy of the first tensor found that is newer than `after`. Nobody wakes Node, so it looks every `poll` milliseconds, 1 or
   * more; 0 looks without a pause, which takes a processor, and lets other events in between.
   * @param {bigint} [after] a version
   * @param {{signal?: AbortSignal, poll?: number}} [options]
   * @returns {Promise<Tensor>}
   */
  async next(after = 0n, { signal, poll = 1 } = {}) {
    let odd = 0n;
    let since = 0;
    for (;;) {
      signal?.throwIfAborted();
      const version = this.version();
      if (version & 1n) {
        // A commit takes as long as its writer takes; the same one for this long is that of a writer that died.
        if (version !== odd) [odd, since] = [version, performance.now()];
        else if (performance.now() - since > PATIENCE) throw this.#busy();
      }
      // A few times: a busy writer spoils some.
      for (let i = 0; i < 16 && version > after; i++) {
        const tensor = this.attempt(true);
        if (tensor && tensor.version > after) return tensor;
      }
      await (poll === 0 ? setImmediate(undefined, { signal }) : setTimeout(poll, undefined, { signal }));
    }
  }

  /** Copies of the tensors, as they come; of those that are committed between two looks, the newest. `options` as in next. */
  async *tensors(/** @type {{signal?: AbortSignal, poll?: number}} */ options = {}) {
    for (let after = 0n; ;) {
      const tensor = await this.next(after, options);
      after = tensor.version;
      yield tensor;
    }
  }

  #busy() {
    const version = this.version();
    const why = version & 1n ? 'a commit is in progress, or its writer died in it' : 'its writer leaves no time for it';
    return new SegmentError('BUSY', `no whole tensor for ${PATIENCE} ms at sequence ${version}: ${why}`);
  }
}

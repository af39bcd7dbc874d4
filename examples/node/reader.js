// Prints what comes through a segment or a stream: node reader.js NAME [--stream]. Ctrl-C ends it.
// @ts-check
import { setTimeout } from 'node:timers/promises';
import { Segment, SegmentError } from './segment.js';
import { Stream } from './stream.js';

const name = process.argv[2] ?? 'node-picture';
const kind = process.argv.includes('--stream') ? Stream : Segment;
const stop = new AbortController();
for (const signal of ['SIGINT', 'SIGTERM']) process.once(signal, () => stop.abort());

/** The segment or stream of this name, once it is there. */
async function open() {
  for (let looks = 0; ; looks++) {
    try {
      return kind.open(name);
    } catch (error) {
      if (error.code !== 'ENOENT') throw error;
    }
    if (looks === 0) console.error(`waiting for ${name}`);
    await setTimeout(100, undefined, { signal: stop.signal });
  }
}

try {
  const source = await open();
  try {
    for (let after = 0n; ;) {
      try {
        const tensor = await source.next(after, { signal: stop.signal });
        after = tensor.version;
        console.log(`commit ${tensor.version / 2n}: ${tensor.dtype} [${tensor.shape.join(' ')}], first element ${tensor.data[0]}`);
      } catch (error) {
        if (!(error instanceof SegmentError && error.code === 'BUSY')) throw error;
        console.error(error.message); // its writer was killed, perhaps; another one may start
      }
    }
  } finally {
    source.close();
  }
} catch (error) {
  if (!stop.signal.aborted) throw error;
}

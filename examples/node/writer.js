// Writes a picture, 30 times a second, to a segment that it makes if it isn't there: node writer.js NAME. Ctrl-C ends it.
// @ts-check
import { setInterval } from 'node:timers/promises';
import { Segment } from './segment.js';

const name = process.argv[2] ?? 'node-picture';
const stop = new AbortController();
for (const signal of ['SIGINT', 'SIGTERM']) process.once(signal, () => stop.abort());

const shape = [224, 224, 3];
const segment = Segment.openOrCreate(name, 224 * 224 * 3);
try {
  let n = 0;
  for await (const _ of setInterval(1000 / 30, undefined, { signal: stop.signal })) {
    segment.update(shape, 'uint8', (pixels) => pixels.fill(n++ & 255)); // in place: no copy
  }
} catch (error) {
  if (!stop.signal.aborted) throw error;
} finally {
  segment.close(); // gives the right to write back
}

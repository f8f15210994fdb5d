// What a page does with an EventSource that nobody closes, for those that have its interface. One line of
// JSON per message; the last says why it stopped.
import { resumed, url } from './arguments.mjs';

export function watch(EventSource) {
  const es = new EventSource(resumed(url));
  es.onmessage = (e) => {
    const job = JSON.parse(e.data);
    console.log(JSON.stringify({ id: e.lastEventId, event: job }));
  };
  // Where it is an EventEmitter, an `error` that nobody listens for is thrown.
  es.onerror = () => {};
  // Some close without an `error`, some only after it, so that a program had better look by itself. The timer
  // is also what it stays for: a page stays open without one.
  setInterval(() => {
    // CLOSED: not all have the constant.
    if (es.readyState === 2) {
      console.log(JSON.stringify({ stopped: 'closed by the library' }));
      process.exit(0);
    }
  }, 200);
}

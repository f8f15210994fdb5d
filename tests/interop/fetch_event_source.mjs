// What a page of `@microsoft/fetch-event-source` does, by the first example of its documentation. Prints
// the type of each message's event, and at the end that it ended.
globalThis.window = globalThis;
globalThis.document = { hidden: false, addEventListener() {}, removeEventListener() {} };
const { fetchEventSource } = await import('@microsoft/fetch-event-source');

const [url] = process.argv.slice(2);
await fetchEventSource(url, {
  onmessage(msg) {
    console.log(JSON.parse(msg.data).event_type);
  },
  onerror(err) {
    // It would try again for ever.
    throw err;
  },
});
console.log('ended');

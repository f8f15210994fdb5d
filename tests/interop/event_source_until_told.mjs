// A page that never closes its EventSource: it reconnects for ever, until a 204 tells it to stop. Prints
// the id and the type of each message, and ends when its EventSource is closed for good.
const [url] = process.argv.slice(2);
// A page stays open by itself; a Node program needs something to stay for.
setInterval(() => {}, 1000);
const es = new EventSource(url);
es.onmessage = (e) => console.log(e.lastEventId, JSON.parse(e.data).event_type);
es.onerror = () => {
  if (es.readyState === EventSource.CLOSED) {
    console.log('closed');
    process.exit(0);
  }
};

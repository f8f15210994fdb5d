import { createEventSource } from 'eventsource-client';
import { resumed, url } from './arguments.mjs';

const es = createEventSource(resumed(url));
for await (const { data, id } of es) {
  console.log(JSON.stringify({ id, event: JSON.parse(data) }));
}
console.log(JSON.stringify({ stopped: 'closed by the library' }));
process.exit(0);

// What a user of a browser has. Between the marks it is contract §6 word for word; the address alone is
// an argument here. Prints every message, so that the test can see what `onmessage` fired for.
const [base, jobId] = process.argv.slice(2);

const Native = EventSource;
globalThis.EventSource = class extends Native {
  constructor(url) {
    super(url.replace('http://localhost:16000', base));
    this.addEventListener('message', (e) => console.error(e.lastEventId, JSON.parse(e.data).event_type));
    this.addEventListener('error', () => console.error('error', this.readyState));
  }
};

// --- contract
const es = new EventSource(`http://localhost:16000/v1/triton/jobs/${jobId}/subscribe`);
es.onmessage = (e) => { const d = JSON.parse(e.data); if (d.status === 'completed') { console.log(d.template_ids); es.close(); } };
// --- end

// The peer of W2: the jobs of Conch's worker in BullMQ, on the same Redis. Started as
//   node peer.mjs REDIS_PORT CONTROL_PORT BODIES
// it loads everything, then listens on CONTROL_PORT for one order per line, and answers each with a line
// of JSON: {"add": 2000} adds jobs in bulk; {"single": 200} adds them one by one; {"work": 2000,
// "concurrency": 8, "pace": 0} runs as many jobs.
// It must never do less than a user of BullMQ would who shows progress and keeps results.
import { readFileSync } from 'node:fs';
import { createServer } from 'node:net';
import { createInterface } from 'node:readline';
import { Queue, Worker } from 'bullmq';
import IORedis from 'ioredis';

const [redisPort, controlPort, bodiesFile] = process.argv.slice(2);
const bodies = readFileSync(bodiesFile, 'utf8').trimEnd().split('\n');
const connect = () => new IORedis({ host: '127.0.0.1', port: Number(redisPort), maxRetriesPerRequest: null });
const connection = connect();
const NAME = 'templates';
const queue = new Queue(NAME, { connection });
const results = connect();
const CLIENT = '00000000-0000-7000-8000-0000000000c1';

const data = () => ({ client_id: CLIENT, value_proposition_id: CLIENT, created_at: new Date().toISOString() });

async function add(jobs) {
  const begun = performance.now();
  for (let first = 0; first < jobs; first += 500) {
    const count = Math.min(500, jobs - first);
    await queue.addBulk(Array.from({ length: count }, () => ({ name: 'job', data: data() })));
  }
  return { seconds: (performance.now() - begun) / 1000 };
}

async function single(jobs) {
  const times = [];
  for (let n = 0; n < jobs; n += 1) {
    const begun = performance.now();
    await queue.add('job', data());
    times.push(performance.now() - begun);
  }
  times.sort((a, b) => a - b);
  return { p50_millis: times[Math.floor(times.length / 2)] };
}

// Seventeen events and seven results, as Conch's jobs have them.
async function run(job, pace) {
  const about = { job_id: job.id, client_id: CLIENT, status: 'running' };
  const say = (event) => job.updateProgress({ ...about, timestamp: new Date().toISOString(), ...event });
  await say({ event_type: 'job:queued', status: 'pending' });
  await say({ event_type: 'job:started', started_at: new Date().toISOString() });
  const ids = [];
  for (let n = 1; n <= bodies.length; n += 1) {
    if (pace > 0) await new Promise((done) => setTimeout(done, pace));
    const id = crypto.randomUUID();
    await results.set(`result:${id}`, bodies[n - 1]);
    ids.push(id);
    await say({ event_type: 'job:template_completed', template_id: id, template_index: n, total_templates: bodies.length, name: 'A template', category: 'roi-focused', target_audience: 'executive' });
    await say({ event_type: 'job:progress', progress: Math.floor((n * 100) / bodies.length), completed_templates: n, total_templates: bodies.length });
  }
  await say({ event_type: 'job:completed', status: 'completed', template_ids: ids, template_count: ids.length });
  return { template_ids: ids };
}

async function work({ work: jobs, concurrency, pace }) {
  let first;
  let ended = 0;
  let failed = 0;
  const worker = new Worker(
    NAME,
    (job) => {
      first ??= performance.now();
      return run(job, pace);
    },
    { connection: connect(), concurrency, autorun: false },
  );
  const last = await new Promise((done) => {
    const end = () => {
      ended += 1;
      if (ended === jobs) done(performance.now());
    };
    worker.on('completed', end);
    worker.on('failed', () => {
      failed += 1;
      end();
    });
    worker.run();
  });
  return { seconds: (last - first) / 1000, failed };
}

async function obey(order) {
  if (order.add) return add(order.add);
  if (order.single) return single(order.single);
  return work(order);
}

await queue.waitUntilReady();
await results.ping();
createServer((socket) => {
  createInterface({ input: socket }).on('line', (line) => {
    obey(JSON.parse(line)).then(
      (answer) => socket.write(`${JSON.stringify(answer)}\n`),
      (error) => socket.write(`${JSON.stringify({ error: String(error) })}\n`),
    );
  });
  socket.on('error', () => {});
}).listen(Number(controlPort), '127.0.0.1');

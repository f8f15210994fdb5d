// A reverse proxy as many have one: express with `compression`. Prints its port.
// Usage: node compressing_proxy.mjs http://127.0.0.1:<port of the edge>
import http from 'node:http';
import compression from 'compression';
import express from 'express';

const target = new URL(process.argv[2]);
const app = express();
app.use(compression());
app.use((request, response) => {
  const options = { host: target.hostname, port: target.port, method: request.method, path: request.url, headers: request.headers };
  const upstream = http.request(options, (answer) => {
    response.writeHead(answer.statusCode, answer.headers);
    answer.pipe(response);
  });
  upstream.on('error', () => response.destroy());
  response.on('close', () => upstream.destroy());
  request.pipe(upstream);
});
const server = app.listen(0, '127.0.0.1', () => console.log(server.address().port));

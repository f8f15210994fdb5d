// An express application with `compression` before a proxy, as their documentations show them.
import compression from 'compression';
import express from 'express';
import { createProxyMiddleware } from 'http-proxy-middleware';

const [listen, target] = process.argv.slice(2);
const app = express();
app.use(compression());
app.use(createProxyMiddleware({ target: `http://127.0.0.1:${target}` }));
app.listen(Number(listen), '127.0.0.1');

// Express with BullMQ: a delivery is proven and put into a queue in Redis; worker.js hands it on.
const { createHmac, timingSafeEqual } = require('node:crypto');
const express = require('express');
const { Queue } = require('bullmq');

const { PORT, REDIS_PORT, SECRET } = process.env;

const queue = new Queue('deliveries', {
  connection: { host: '127.0.0.1', port: Number(REDIS_PORT) },
  defaultJobOptions: { attempts: 50, backoff: { type: 'exponential', delay: 5000 }, removeOnComplete: true },
});

const app = express();
app.disable('x-powered-by');
app.disable('etag');

app.post('/bench/deliveries', express.raw({ type: () => true, limit: '1mb' }), async (request, response) => {
  const expected = createHmac('sha256', SECRET).update(request.body).digest();
  const given = Buffer.from(request.get('signature') ?? '', 'hex');
  if (given.length !== expected.length || !timingSafeEqual(given, expected)) {
    response.status(401).end();
    return;
  }
  await queue.add('delivery', request.body.toString());
  response.status(200).end();
});

const server = app.listen(Number(PORT), '127.0.0.1');
server.keepAliveTimeout = 75_000;

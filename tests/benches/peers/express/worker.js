// Hands on what receiver.js has put into the queue.
const http = require('node:http');
const { Worker } = require('bullmq');

const { APPLICATION, REDIS_PORT } = process.env;

const agent = new http.Agent({ keepAlive: true, maxSockets: 64 });

function post(body) {
  return new Promise((resolve, reject) => {
    const headers = { 'Content-Type': 'application/json', 'Content-Length': Buffer.byteLength(body) };
    const request = http.request(APPLICATION, { method: 'POST', agent, headers, timeout: 10_000 }, (response) => {
      response.resume();
      response.on('end', () => {
        if (response.statusCode >= 200 && response.statusCode < 300) {
          resolve();
        } else {
          reject(new Error(`answered ${response.statusCode}`));
        }
      });
    });
    request.on('timeout', () => request.destroy(new Error('took too long')));
    request.on('error', reject);
    request.end(body);
  });
}

const worker = new Worker('deliveries', (job) => post(job.data), {
  connection: { host: '127.0.0.1', port: Number(REDIS_PORT) },
  concurrency: 64,
});
worker.on('error', (error) => console.error(error));

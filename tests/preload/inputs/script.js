// Objects, strings, buffers, workers and compression in node: script.js SCALE.
'use strict';
const crypto = require('crypto');
const zlib = require('zlib');
const { Worker, isMainThread, parentPort, workerData } = require('worker_threads');
const { execFileSync } = require('child_process');

const digest = (data) => crypto.createHash('sha256').update(data).digest('hex').slice(0, 16);

function documents(seed, count) {
  let state = seed;
  const next = () => (state = (Math.imul(state, 1103515245) + 12345) >>> 0);
  return Array.from({ length: count }, (_, id) => ({
    id,
    name: 'n'.repeat(next() % 50),
    values: Array.from({ length: next() % 20 }, () => next() % 1000),
    nested: { id: [id] },
  }));
}

if (!isMainThread) {
  parentPort.postMessage(digest(JSON.stringify(documents(workerData.seed, workerData.count))));
} else {
  const scale = Number(process.argv[2]);
  const text = JSON.stringify(documents(7, 5000 * scale));
  console.log('json', digest(text), JSON.parse(text).length);
  const packed = zlib.gzipSync(text, { level: 6 });
  const brotli = zlib.brotliCompressSync(text, { params: { [zlib.constants.BROTLI_PARAM_QUALITY]: 4 } });
  console.log('compression', zlib.gunzipSync(packed).toString() === text, zlib.brotliDecompressSync(brotli).length);
  const map = new Map();
  for (let i = 0; i < 50000 * scale; i++) map.set(`key${i % 7919}`, (map.get(`key${i % 7919}`) || '') + (i % 10));
  console.log('map', map.size, digest([...map.values()].join()));
  let bytes = 0;
  for (let i = 0; i < 2000 * scale; i++) {
    bytes += Buffer.alloc((i * 37) % 100000, i % 256).reduce((a, b) => (a + b) | 0, 0);
  }
  console.log('buffers', bytes);
  console.log('regexp', (text.match(/"values":\[(\d+),\d*7/g) || []).length);
  console.log('child', execFileSync(process.execPath, ['-e', 'console.log("c".repeat(70000))']).length);
  const workers = Array.from({ length: 4 }, (_, seed) => new Promise((resolve, reject) => {
    new Worker(__filename, { workerData: { seed, count: 2000 * scale } }).on('message', resolve).on('error', reject);
  }));
  Promise.all([...workers, new Promise((resolve, reject) => zlib.deflate(text, (error, data) => (
    error ? reject(error) : resolve(zlib.inflateSync(data).length))))]).then((all) => console.log(all.join('\n')));
}

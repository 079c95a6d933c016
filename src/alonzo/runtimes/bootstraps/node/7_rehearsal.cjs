// -- before it is known which function this is ------------------------------------------------------------------------

/** Modules of Node.js that the client, the AWS SDK or very many functions load. */
const MODULES = ['net', 'util', 'stream', 'module', 'url', 'async_hooks', 'crypto', 'http', 'https', 'zlib', 'http2'].concat(
  ['buffer', 'events', 'fs/promises', 'os', 'path', 'process', 'stream/promises'],
);
/** Where the functions lie with which is rehearsed. */
const REHEARSED = `${RUNTIME_DIR}/_alonzo`;

/**
 * Have an invocation behind us when the first one comes: what Node.js compiles, allocates and looks up at first use is
 * there by then. All is as it will be but the function, which is the runtime's own, and the Runtime API, which this
 * process plays itself. Nothing of it may be left that a function could notice.
 */
async function rehearse() {
  MODULES.forEach((name) => require(name));
  become(Object.entries(process.env).map((pair) => pair.join('=')), process.cwd());
  patchConsole({ error() {} });
  defineGlobal({});
  textLine(new Date(), 'INFO', ['%s', { rehearsal: [1] }]);
  const server = await playRuntimeApi();
  api = new RuntimeApi(`127.0.0.1:${server.address().port}`);
  for (const name of ['index.handler', 'module.handler']) {
    const handler = await loadHandler(name, REHEARSED);
    if (MODERN) {
      await invokeModern(handler);
    } else {
      await new Promise((resolve, reject) => {
        follow = resolve;
        invokeOnce(handler).catch(reject);
      });
    }
  }
  const { socket } = api;
  await Promise.all([
    new Promise((resolve) => server.close(resolve)),
    new Promise((resolve) => socket.once('close', resolve).resetAndDestroy()), // a reset leaves nothing in /proc/net/tcp
  ]);
}

/** A server that hands an event to whoever asks for one; what it accepted before that it says then. */
function playRuntimeApi() {
  const answer = (head, body) => `HTTP/1.1 ${head}\r\nContent-Length: ${body.length}\r\n\r\n${body}`;
  const event = (name) => answer(
    '200 OK\r\nLambda-Runtime-Aws-Request-Id: rehearsal\r\nLambda-Runtime-Deadline-Ms: 0\r\nLambda-Runtime-Trace-Id: 1' +
      `\r\nAlonzo-Connection: ${name}`,
    '{"key":["value",1]}',
  );
  const accepted = answer('202 Accepted\r\nContent-Type: application/json', '{"status":"OK"}\n');
  const server = require('net').createServer((socket) => {
    const { localAddress, localPort, remoteAddress, remotePort } = socket;
    let owed = '';
    socket.on('data', (bytes) => {
      const requests = bytes.latin1Slice();
      owed += requests.includes('POST ') ? accepted : '';
      if (requests.includes('GET ')) {
        socket.write(owed + event(`${localAddress}:${localPort} ${remoteAddress}:${remotePort}`));
        owed = '';
      }
    });
    socket.on('error', () => {});
  });
  return new Promise((resolve, reject) => {
    server.on('error', reject).listen(0, '127.0.0.1', () => resolve(server));
  });
}

/** Undo what the rehearsal has set. */
function forgetRehearsal() {
  follow = schedule;
  whenIdle = () => {};
  reportLast = (error) => api.failInit(error);
  current.requestId = MODERN ? '-' : undefined;
  current.tenantId = undefined;
  invokeStore.context = undefined;
  delete process.env._X_AMZN_TRACE_ID;
  delete load.cache[`${REHEARSED}/index.js`];
  const found = require('module')._pathCache;
  for (const key of Object.keys(found).filter((each) => each.startsWith(REHEARSED))) {
    delete found[key];
  }
}

/** Be ready for the order as far as that is possible. */
async function prepare() {
  // Some modules, and sockets that are closed, look at them, which would open them before the function does.
  const streams = ['stdin', 'stdout', 'stderr'].map((name) => [name, Object.getOwnPropertyDescriptor(process, name)]);
  streams.forEach(([name]) => Object.defineProperty(process, name, { configurable: true, value: {} }));
  try {
    await rehearse();
  } catch {
    process.exit(1); // nobody knows what is left of it; environments are then made without
  }
  streams.forEach(([name, own]) => Object.defineProperty(process, name, own));
  forgetRehearsal();
  api = new RuntimeApi(process.env.AWS_LAMBDA_RUNTIME_API ?? '');
  await api.reach();
}

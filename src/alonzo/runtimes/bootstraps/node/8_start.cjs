// -- the start ------------------------------------------------------------------------------------------------------------

async function main() {
  if (MODERN) {
    return mainModern();
  }
  const last = (what, status) => (error) => {
    logError(what, error);
    reportLast(error).finally(() => process.exit(status));
  };
  const uncaught = last('Uncaught Exception', 129);
  const rejected = last('Unhandled Promise Rejection', 128);
  process.on('uncaughtException', uncaught);
  process.on('unhandledRejection', (reason, promise) => rejected(unhandledRejection(reason, promise)));
  process.on('beforeExit', () => whenIdle());
  try {
    const handler = await loadHandler(process.env._HANDLER ?? '');
    isStreaming(handler);
    schedule(handler);
  } catch (error) {
    uncaught(error);
  }
}

async function mainModern() {
  let handler;
  try {
    handler = await loadHandler(process.env._HANDLER ?? '');
    if (!isStreaming(handler) && handler.length >= 3) {
      throw new RuntimeError('CallbackHandlerDeprecated', CALLBACK_REMOVED);
    }
  } catch (error) {
    logError('Init Error', error);
    await api.failInit(error);
    throw error;
  }
  for (;;) {
    await invokeModern(handler);
  }
}

/** Be the process of the function that the variables tell of. */
function start() {
  const { env } = process;
  if (process.versions.node.startsWith('18.')) {
    // As on AWS, but set here: Node.js itself has these certificates, and would spend 50 ms on reading them again.
    env.NODE_EXTRA_CA_CERTS ??= '/var/runtime/ca-cert.pem';
  }
  const address = env.AWS_LAMBDA_RUNTIME_API ?? '';
  if (api?.address !== address) {
    api?.socket?.destroy();
    api = new RuntimeApi(address);
  }
  defineGlobal(globalThis);
  patchConsole(console);
  importByNodePath();
  main();
}

async function getReady() {
  if (AHEAD === undefined) {
    require('net'); // the only large module that is needed in any case
  } else {
    await prepare();
  }
  restoreFlags();
}

getReady().then(() => {
  // However this process was started, the stack under a function's first line is the same.
  setImmediate(() => {
    if (ORDER !== undefined) {
      awaitOrder(Number(ORDER));
    }
    start();
  });
});

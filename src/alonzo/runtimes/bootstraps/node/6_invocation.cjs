const CALLBACK_REMOVED =
  'ERROR: AWS Lambda has removed support for callback-based function handlers starting with Node.js 24. You need to ' +
  'modify this function to use a supported handler signature to use Node.js 24 or later. For more information see ' +
  'https://docs.aws.amazon.com/lambda/latest/dg/nodejs-handler.html.';

/** Set by `start`, as all of the process's own is: what comes before that may be the rehearsal. */
let api;

/** What happens when nothing is left to do; and when an error is caught by nobody. */
let whenIdle = () => {};
let reportLast = (error) => api.failInit(error);

/** For a report that cannot wait: a connection of its own where an answer is awaited on the usual one. */
const freeApi = () => (api.awaited === null ? api : new RuntimeApi(api.address));

function serialize(value) {
  let body;
  try {
    body = JSON.stringify(value === undefined ? null : value);
  } catch {
    const message = 'Unable to stringify response body';
    throw MODERN ? new RuntimeError('JSONStringifyError', message) : new Error(message);
  }
  if (body === undefined) {
    throw new TypeError('Wrong arguments'); // a function or a symbol is no JSON
  }
  return body;
}

function parseHeader(headers, name, label) {
  if (headers[name] === undefined) {
    return undefined;
  }
  try {
    return JSON.parse(headers[name]);
  } catch (error) {
    throw new Error(`Cannot parse ${label} as json: ${error}`);
  }
}

/** What a handler gets as its context, but for the functions of the callback era. */
function contextOf(headers) {
  const deadline = Number(headers['lambda-runtime-deadline-ms']);
  const trace = headers['lambda-runtime-trace-id'];
  if (trace) {
    process.env._X_AMZN_TRACE_ID = trace;
  } else {
    delete process.env._X_AMZN_TRACE_ID;
  }
  const { env } = process;
  return {
    functionVersion: env.AWS_LAMBDA_FUNCTION_VERSION,
    functionName: env.AWS_LAMBDA_FUNCTION_NAME,
    memoryLimitInMB: env.AWS_LAMBDA_FUNCTION_MEMORY_SIZE,
    logGroupName: env.AWS_LAMBDA_LOG_GROUP_NAME,
    logStreamName: env.AWS_LAMBDA_LOG_STREAM_NAME,
    clientContext: parseHeader(headers, 'lambda-runtime-client-context', 'ClientContext'),
    identity: parseHeader(headers, 'lambda-runtime-cognito-identity', 'CognitoIdentity'),
    invokedFunctionArn: headers['lambda-runtime-invoked-function-arn'],
    awsRequestId: headers['lambda-runtime-aws-request-id'],
    tenantId: headers['lambda-runtime-aws-tenant-id'],
    getRemainingTimeInMillis: () => deadline - Date.now(),
  };
}

const isPromise = (value) => typeof value?.then === 'function';
const nextTurn = () => new Promise((resolve) => setImmediate(resolve));

/** Wait for an invocation: {id, headers, body}; from here on it is the one that is logged. */
async function receive() {
  whenIdle = () => {};
  const { headers, body } = await api.next();
  const id = headers['lambda-runtime-aws-request-id'];
  current.requestId = id;
  current.tenantId = headers['lambda-runtime-aws-tenant-id'];
  reportLast = (error) => freeApi().fail(id, error);
  return { id, headers, body };
}

async function fail(id, error) {
  logError('Invoke Error', error);
  await api.fail(id, error);
}

// -- Node.js 24 and later: a handler returns a value or a promise, and that is its answer ----------------------------

async function invokeModern(handler) {
  const { id, headers, body } = await receive();
  const store = {
    [PROTECTED_KEYS.REQUEST_ID]: id,
    [PROTECTED_KEYS.X_RAY_TRACE_ID]: headers['lambda-runtime-trace-id'],
    [PROTECTED_KEYS.TENANT_ID]: current.tenantId,
  };
  await invokeStore.run(store, async () => {
    const context = contextOf(headers);
    const event = JSON.parse(body);
    if (isStreaming(handler)) {
      await stream(handler, id, event, context);
      return;
    }
    let answer;
    try {
      answer = serialize(await handler(event, context));
      await nextTurn();
    } catch (error) {
      await nextTurn();
      await fail(id, error);
      return;
    }
    await api.respond(id, answer);
  });
}

/** Run a streaming handler until its response has arrived. */
async function stream(handler, id, event, context) {
  const response = responseStream(api, id, handler[HIGH_WATER_MARK]);
  reportLast = response.fail;
  try {
    const running = handler(event, response.stream, context);
    if (!isPromise(running)) {
      const message = 'Streaming does not support non-async handlers.';
      throw MODERN ? new Error(message) : message;
    }
    if ((await running) !== undefined) {
      console.warn('Streaming handlers ignore return values.');
    }
    // As on AWS, a handler that never ends its stream runs into the function's time-out.
    const alive = response.stream.writableEnded ? undefined : setInterval(() => {}, 1 << 30);
    await response.done.finally(() => clearInterval(alive));
    if (!response.stream.writableFinished) {
      const message = 'Response stream is not finished.';
      throw MODERN ? new Error(message) : message;
    }
  } catch (error) {
    logError('Invoke Error', error);
    await response.fail(error);
  }
}

// -- Up to Node.js 22: callbacks, and the empty event loop as the end of an invocation ---------------------------------

/** How an invocation is followed by the next. */
let follow = schedule;

function schedule(handler) {
  setImmediate(() => {
    const once = isStreaming(handler) ? streamOnce : invokeOnce;
    once(handler).catch((error) => {
      console.log(`Unexpected Top Level Error: ${error}`);
      reportLast(error).finally(() => process.exit(129));
    });
  });
}

async function streamOnce(handler) {
  const { id, headers, body } = await receive();
  const context = contextOf(headers);
  const wait = waiting(context);
  await stream(handler, id, JSON.parse(body), context);
  if (wait()) {
    whenIdle = () => follow(handler);
  } else {
    follow(handler);
  }
}

/** Give `context` its switch; the function tells whether the event loop is to be empty before the next invocation. */
function waiting(context) {
  let wait = true;
  Object.defineProperty(context, 'callbackWaitsForEmptyEventLoop', {
    get: () => wait,
    set: (value) => {
      wait = value;
    },
    enumerable: true,
    configurable: true,
  });
  return () => wait;
}

async function invokeOnce(handler) {
  const { id, headers, body } = await receive();
  const next = () => follow(handler);
  const broken = (error) => {
    console.log(`Unexpected Top Level Error: ${error}`);
    process.exit(129);
  };
  let answered = false;
  const answer = (result) => {
    if (answered) {
      console.error(
        'Invocation has already been reported as done. Cannot call complete more than once per invocation.',
      );
      return;
    }
    const serialized = serialize(result);
    answered = true;
    api.respond(id, serialized).then(next, broken);
  };
  const refuse = (error) => {
    fail(id, error).then(next, broken);
  };

  let finished = false;
  /** Only the first call of any of them counts; one that throws is none. */
  const once = (work) => (...args) => {
    if (!finished) {
      work(...args);
      finished = true;
    }
  };
  const done = (error, result) => {
    whenIdle = () => {};
    if (error !== undefined && error !== null) {
      refuse(error);
    } else {
      answer(result);
    }
  };
  const context = {};
  const wait = waiting(context);
  const callback = once((error, result) => {
    whenIdle = () => {};
    if (error !== undefined && error !== null) {
      refuse(error);
    } else if (wait()) {
      whenIdle = () => setImmediate(() => answerOrRefuse(result));
    } else {
      answer(result);
    }
  });
  const answerOrRefuse = (result) => {
    try {
      answer(result);
    } catch (error) {
      refuse(error);
    }
  };
  context.succeed = once((result) => done(null, result));
  context.fail = once((error) => done(error ?? 'handled'));
  context.done = once(done);
  // A handler that neither answers nor has anything left to do has answered null.
  whenIdle = () => answerOrRefuse(undefined);
  try {
    Object.assign(context, contextOf(headers));
    const result = handler(JSON.parse(body), context, callback);
    if (isPromise(result)) {
      result.then(context.succeed, context.fail).catch(context.fail);
    }
  } catch (error) {
    callback(error);
  }
}

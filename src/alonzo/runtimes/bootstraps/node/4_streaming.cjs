const STREAMING = Symbol.for('aws.lambda.runtime.handler.streaming');
const HIGH_WATER_MARK = Symbol.for('aws.lambda.runtime.handler.streaming.highWaterMark');
const PRELUDE_TYPE = 'application/vnd.awslambda.http-integration-response';

/** The global `awslambda`: what makes a handler a streaming one. */
function defineGlobal(global) {
  if (['1', 'true'].includes(process.env.AWS_LAMBDA_NODEJS_NO_GLOBAL_AWSLAMBDA)) {
    return;
  }
  const streamifyResponse = (handler, options) => {
    handler[STREAMING] = 'response';
    if (typeof options?.highWaterMark === 'number') {
      handler[HIGH_WATER_MARK] = Math.trunc(options.highWaterMark);
    }
    return handler;
  };
  const HttpResponseStream = class HttpResponseStream {
    /** Send `prelude` (status, headers, cookies) before the stream's first byte. */
    static from(stream, prelude) {
      stream.setContentType(PRELUDE_TYPE);
      const metadata = JSON.stringify(prelude);
      stream._onBeforeFirstWrite = (write) => {
        write(metadata);
        write(new Uint8Array(8));
      };
      return stream;
    }
  };
  global.awslambda = { ...global.awslambda, streamifyResponse, HttpResponseStream };
  if (MODERN) {
    global.awslambda.InvokeStore ??= invokeStore;
  }
}

/** What libraries read of the invocation under way, from Node.js 24 on. */
const PROTECTED_KEYS = {
  REQUEST_ID: Symbol.for('_AWS_LAMBDA_REQUEST_ID'),
  X_RAY_TRACE_ID: Symbol.for('_AWS_LAMBDA_X_RAY_TRACE_ID'),
  TENANT_ID: Symbol.for('_AWS_LAMBDA_TENANT_ID'),
};
const invokeStore = {
  context: undefined,
  getContext: () => invokeStore.context,
  hasContext: () => invokeStore.context !== undefined,
  get: (key) => invokeStore.context?.[key],
  set(key, value) {
    if (Object.values(PROTECTED_KEYS).includes(key)) {
      throw new Error(`Cannot modify protected Lambda context field: ${String(key)}`);
    }
    invokeStore.context = invokeStore.context ?? {};
    invokeStore.context[key] = value;
  },
  run(context, work) {
    invokeStore.context = context;
    return work();
  },
  getRequestId: () => invokeStore.get(PROTECTED_KEYS.REQUEST_ID) ?? '-',
  getXRayTraceId: () => invokeStore.get(PROTECTED_KEYS.X_RAY_TRACE_ID),
  getTenantId: () => invokeStore.get(PROTECTED_KEYS.TENANT_ID),
};

function isStreaming(handler) {
  if (!handler[STREAMING]) {
    return false;
  }
  if (handler[STREAMING] !== 'response') {
    throw new RuntimeError('MalformedStreamingHandler', 'Only response streaming is supported.');
  }
  return true;
}

/**
 * The stream that a streaming handler writes to: a Writable whose chunks are those of the Runtime API's request.
 *
 * Nothing is sent before the first write. `done` is the Runtime API's answer.
 */
function responseStream(api, id, highWaterMark) {
  const { Writable } = require('stream');
  let contentType = 'application/octet-stream';
  let sent = false;
  let wrote = false;
  let ended = false;
  let answered;
  const done = new Promise((resolve, reject) => {
    answered = { resolve, reject };
  });
  done.catch(() => {});

  const chunk = (bytes) => {
    api.socket.write(`${bytes.length.toString(16)}\r\n`, 'latin1');
    api.socket.write(bytes);
    return api.socket.write('\r\n', 'latin1');
  };
  const begin = () => {
    if (sent) {
      api.socket.cork();
      return;
    }
    sent = true;
    api
      .begin('POST', `/invocation/${encodeURIComponent(id)}/response`, {
        'Lambda-Runtime-Function-Response-Mode': 'streaming',
        Trailer: 'Lambda-Runtime-Function-Error-Type, Lambda-Runtime-Function-Error-Body',
        'Content-Type': headerText(contentType),
        'Transfer-Encoding': 'chunked',
      })
      .then(answered.resolve, answered.reject);
    // The prelude is sent even where nothing follows it, so that an empty answer has its status.
    stream._onBeforeFirstWrite?.((part) => chunk(Buffer.from(part)));
  };
  const gone = () => api.socket === null && sent;
  const finish = (trailers, callback) => {
    if (ended || gone()) {
      callback?.();
      return;
    }
    begin();
    ended = true;
    const lines = Object.entries(trailers).map(([name, value]) => `${name}: ${value}\r\n`);
    api.socket.write(`0\r\n${lines.join('')}\r\n`, 'latin1', callback);
    api.socket.uncork();
  };
  const send = (parts, callback) => {
    if (gone()) {
      callback(new Error('The connection to the Runtime API was closed.'));
      return;
    }
    begin();
    let free = true;
    for (const part of parts) {
      if (part.length > 0) {
        free = chunk(part); // a chunk of length 0 would end the response
      }
    }
    api.socket.uncork();
    if (free) {
      callback();
    } else {
      const socket = api.socket;
      const go = (error) => {
        socket.off('drain', go).off('close', lost);
        callback(error);
      };
      const lost = () => go(new Error('The connection to the Runtime API was closed.'));
      socket.on('drain', go).on('close', lost);
    }
  };
  const stream = new Writable({
    highWaterMark,
    write: (part, _, callback) => send([part], callback),
    writev: (parts, callback) => send(parts.map((each) => each.chunk), callback),
    final: (callback) => finish({}, () => callback()),
  });
  const write = stream.write.bind(stream);
  stream.write = (data, encoding, callback) => {
    wrote = true;
    const plain = typeof data === 'string' || data instanceof Uint8Array;
    return write(plain ? data : JSON.stringify(data), encoding, callback);
  };
  stream.setContentType = (type) => {
    if (wrote) {
      throw new RuntimeError('InvalidStreamingOperation', 'Cannot set content-type, too late.');
    }
    contentType = type;
  };
  stream._onBeforeFirstWrite = undefined;
  // A handler's own listener hears of it; without one it must not end the process.
  stream.on('error', () => {});

  /** End the response with an error in its trailers. */
  const fail = async (error) => {
    const report = describeError(error);
    const body = Buffer.from(JSON.stringify(report)).toString('base64');
    const trailers = {
      'Lambda-Runtime-Function-Error-Type': headerText(report.errorType),
      'Lambda-Runtime-Function-Error-Body': body,
    };
    finish(trailers);
    await done.catch(() => {});
    stream.destroy();
  };
  return { stream, done, fail };
}

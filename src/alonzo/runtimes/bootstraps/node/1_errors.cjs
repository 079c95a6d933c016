'use strict';
// Alonzo's runtime interface client for Node.js. The files of this folder are joined in the order of their names to
// /var/runtime/index.cjs: one file to read and to compile, and nothing required before it is needed.
//
// AWS's own client needs a native module built on the machine (node-gyp, cmake, libcurl); this one needs nothing but
// Node.js. It behaves like AWS's in either of its generations: with callbacks up to Node.js 22, without from 24 on.
// Source: https://docs.aws.amazon.com/lambda/latest/dg/nodejs-handler.html

const MODERN = Number(process.versions.node.split('.')[0]) >= 24;

/** An error whose name is one of the runtime's own error types. */
class RuntimeError extends Error {
  constructor(type, message, stack) {
    super(message);
    Object.defineProperty(this, 'name', { value: `Runtime.${type}`, configurable: true, writable: true });
    if (stack) {
      this.stack = stack;
    } else if (typeof this.stack === 'string') {
      this.stack = this.stack.replace(/^Error/, this.name);
    }
  }
}

function unhandledRejection(reason, promise) {
  const error = new RuntimeError('UnhandledPromiseRejection', reason instanceof Error ? String(reason) : text(reason));
  error.reason = reason;
  error.promise = promise;
  return error;
}

function text(value) {
  try {
    return String(value);
  } catch {
    return Object.prototype.toString.call(value);
  }
}

function isError(value) {
  if (value instanceof Error) {
    return true;
  }
  // An error of another realm (`vm`), or something that is as good as one.
  return (
    value !== null && typeof value === 'object' && ['name', 'message', 'stack'].every((key) => typeof value[key] === 'string')
  );
}

/** The body of an error report. A header carries its type, where DEL is not allowed. */
function describeError(error) {
  const clean = (value) => (typeof value === 'string' ? value.replaceAll('\x7F', '%7F') : value);
  try {
    if (isError(error)) {
      const trace = typeof error.stack === 'string' ? clean(error.stack).split('\n') : [];
      return { errorType: clean(error.name), errorMessage: clean(error.message), trace };
    }
    return { errorType: typeof error, errorMessage: String(error), trace: [] };
  } catch {
    return {
      errorType: 'handled',
      errorMessage:
        'callback called with Error argument, but there was a problem while retrieving one or more of its message, name, and stack',
      trace: [],
    };
  }
}

/** What X-Ray shows of an error; '' where it cannot be told. */
function describeCause(error) {
  try {
    const stack = String(error.stack)
      .split('\n')
      .slice(1)
      .map((line) => /^\s*at (?:(.*) )?\(?(.*?):(\d+)(?::\d+)?\)?$/.exec(line))
      .filter(Boolean)
      .map(([, label, path, line]) => ({ path, line: Number(line), label: label ?? 'anonymous' }));
    const exception = { type: error.name, message: error.message, stack };
    const cause = { working_directory: process.cwd(), exceptions: [exception], paths: [...new Set(stack.map((f) => f.path))] };
    return headerText(JSON.stringify(cause));
  } catch {
    return '';
  }
}

/** Text that is safe as a header's value: printable ASCII, everything else as JSON's escapes. */
function headerText(value) {
  return String(value).replace(/[^\x20-\x7e]/g, (c) => `\\u${c.charCodeAt(0).toString(16).padStart(4, '0')}`);
}

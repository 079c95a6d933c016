const LEVELS = { TRACE: 1, DEBUG: 2, INFO: 3, WARN: 4, ERROR: 5, FATAL: 6 };
const TEXT_FRAME = 0xa55a0003;
const JSON_FRAME = 0xa55a0002;
/** Of the invocation under way; as on AWS, what is logged during initialisation has none. */
const current = { requestId: MODERN ? '-' : undefined, tenantId: undefined };

function writeAll(fd, bytes) {
  const { writeSync } = require('fs');
  for (let done = 0; done < bytes.length; ) {
    try {
      done += writeSync(fd, bytes, done);
    } catch (error) {
      if (error.code !== 'EAGAIN') {
        throw error;
      }
    }
  }
}

/** One frame is one log event, however many lines it has. Source: execution-environment contract §4. */
function writeFrame(fd, kind, level, date, message) {
  const length = Buffer.byteLength(message);
  const frame = Buffer.allocUnsafe(16 + length);
  frame.writeUInt32BE((kind | (LEVELS[level] << 2)) >>> 0, 0);
  frame.writeUInt32BE(length, 4);
  frame.writeBigUInt64BE(BigInt(date.getTime()) * 1000n, 8);
  frame.write(message, 16);
  writeAll(fd, frame);
}

function textLine(date, level, params) {
  return `${date.toISOString()}\t${current.requestId}\t${level}\t${require('util').format(...params)}`;
}

function errorFields(error) {
  return {
    errorType: error?.constructor?.name ?? 'UnknownError',
    errorMessage: error.message,
    stackTrace: typeof error.stack === 'string' ? error.stack.split('\n') : error.stack,
  };
}

function jsonLine(date, level, params) {
  const { format } = require('util');
  const line = { timestamp: date.toISOString(), level, requestId: current.requestId };
  if (current.tenantId != null) {
    line.tenantId = current.tenantId;
  }
  if (params.length === 1) {
    line.message = params[0];
    try {
      return JSON.stringify(line, (_, value) => (value instanceof Error ? { ...errorFields(value), ...value } : value));
    } catch {
      return JSON.stringify({ ...line, message: format(params[0]) });
    }
  }
  line.message = format(...params);
  const error = params.find((param) => param instanceof Error);
  return JSON.stringify(error === undefined ? line : Object.assign(line, errorFields(error)));
}

/** An error in a text line: every property of its own, and its stack by lines. */
function errorText(error) {
  const shown = (_, value) => {
    if (!(value instanceof Error)) {
      return value;
    }
    const fields = { errorType: value.name, errorMessage: value.message, code: value.code, ...value };
    return typeof value.stack === 'string' ? { ...fields, stack: value.stack.split('\n') } : fields;
  };
  try {
    return `\t${JSON.stringify(error, shown)}`;
  } catch {
    return `\t${JSON.stringify(describeError(error))}`;
  }
}

let logError;

/** Let the console write what Lambda's log shows. */
function patchConsole(console) {
  const { env } = process;
  const json = env.AWS_LAMBDA_LOG_FORMAT?.toUpperCase() === 'JSON';
  const least = LEVELS[env.AWS_LAMBDA_LOG_LEVEL?.toUpperCase()] ?? LEVELS.TRACE;
  const fd = parseInt(env._LAMBDA_TELEMETRY_LOG_FD, 10);
  delete env._LAMBDA_TELEMETRY_LOG_FD;
  const log = (level, params) => {
    const date = new Date();
    const line = json ? jsonLine(date, level, params) : textLine(date, level, params);
    if (fd >= 0) {
      writeFrame(fd, json ? JSON_FRAME : TEXT_FRAME, level, date, json ? line : `${line}\n`);
    } else {
      // Without frames a line's end is an event's end.
      process.stdout.write(`${line.replaceAll('\n', '\r')}\n`);
    }
  };
  const silent = () => {};
  for (const level of Object.keys(LEVELS)) {
    // `console.log()` without an argument logs what `undefined` looks like, as on AWS.
    const write = (message, ...params) => log(level, [message, ...params]);
    console[level.toLowerCase()] = LEVELS[level] >= least || level === 'FATAL' ? write : silent;
  }
  console.log = console.info;
  const real = (error) => (error instanceof Error ? error : new Error(text(error)));
  logError = json ? (_, error) => console.error(real(error)) : (what, error) => console.error(what, errorText(real(error)));
}

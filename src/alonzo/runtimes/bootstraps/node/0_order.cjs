'use strict';

/** The descriptor of the order, where this process is told only later what it is; and whether that will be a while. */
const { _ALONZO_ORDER: ORDER, _ALONZO_REHEARSE: AHEAD } = process.env;

/** Lambda's own V8 flags, with V8's defaults. */
const DEFAULTS = { 'expose-gc': 'no-expose-gc', 'max-semi-space-size': 0, 'max-old-space-size': 0 };

/**
 * Set V8's flags to their defaults; what it answers sets them as they were. Node.js has its own modules compiled, but
 * for the default flags: with any other, loading one takes three times as long. Lambda's have been read by now; they
 * must be there again before anybody makes a worker or a context, which read them too.
 */
function resetFlags() {
  const { env, execArgv, noDeprecation } = process;
  if (env.NODE_OPTIONS !== undefined) {
    return () => {};
  }
  let set;
  try {
    // The module `v8` costs as much as it would save; this way is closed from Node.js 24 on.
    process.noDeprecation = true;
    set = process.binding('v8').setFlagsFromString;
  } catch {
    set = AHEAD === undefined ? () => {} : require('v8').setFlagsFromString;
  } finally {
    process.noDeprecation = noDeprecation;
    if (noDeprecation === undefined) {
      delete process.noDeprecation;
    }
  }
  const own = execArgv.filter((flag) => flag.slice(2).split('=')[0] in DEFAULTS);
  for (const flag of own) {
    const [name, value] = flag.slice(2).split('=');
    set(`--${value === undefined ? DEFAULTS[name] : `${name}=${DEFAULTS[name]}`}`);
  }
  return () => own.forEach((flag) => set(flag));
}

/** To be called before anything of the function's runs. */
const restoreFlags = resetFlags();

/**
 * Where this process was started before anybody needed it: wait for what it is to be. The order is a message of the
 * sandbox host: fields with their lengths before them, the first three of them words that NUL separates.
 */
function awaitOrder(fd) {
  const { closeSync, readSync } = require('fs');
  const message = Buffer.allocUnsafeSlow(256 * 1024);
  const size = readSync(fd, message);
  closeSync(fd);
  if (size === 0) {
    process.exit(0); // nobody will need it
  }
  const fields = [];
  for (let at = 0; at < size; ) {
    const end = at + 4 + message.readUInt32LE(at);
    fields.push(message.toString('utf8', at + 4, end));
    at = end;
  }
  become(fields[1].split('\0'), fields[2]);
}

/** Have these variables ("name=value") and no others, and be in this folder. */
function become(variables, folder) {
  const { env } = process;
  const superfluous = new Set(Object.keys(env));
  for (const entry of variables) {
    const equals = entry.indexOf('=');
    const name = entry.slice(0, equals);
    const value = entry.slice(equals + 1);
    // What is right already stays: setting TZ alone has Node.js read the zones anew.
    if (!superfluous.delete(name) || env[name] !== value) {
      env[name] = value;
    }
  }
  for (const name of superfluous) {
    delete env[name];
  }
  process.chdir(folder);
}

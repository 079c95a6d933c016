'use strict';

/**
 * Where this process was started before anybody needed it: wait for what it is to be. The order is a message of the
 * sandbox host: fields with their lengths before them, the first three of them words that NUL separates.
 */
function awaitOrder(fd) {
  const { closeSync, readSync } = require('fs');
  // What every function needs anyway is loaded meanwhile.
  for (const name of ['net', 'util', 'stream', 'module', 'url', 'async_hooks', 'crypto', 'http', 'https', 'zlib']) {
    require(name);
  }
  const message = Buffer.alloc(256 * 1024);
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
  for (const name of Object.keys(process.env)) {
    delete process.env[name];
  }
  for (const entry of fields[1].split('\0')) {
    const equals = entry.indexOf('=');
    process.env[entry.slice(0, equals)] = entry.slice(equals + 1);
  }
  process.chdir(fields[2]);
}

if (process.env._ALONZO_ORDER !== undefined) {
  awaitOrder(Number(process.env._ALONZO_ORDER));
}

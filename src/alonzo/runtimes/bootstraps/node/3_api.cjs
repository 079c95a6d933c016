const CAUSE_LIMIT = 65_536;
const API = '/2018-06-01/runtime';
/** Up to this size a response's answer may come later. */
const SMALL = 32_768;

/**
 * The Runtime API over one kept connection: HTTP/1.1 written by hand, which starts faster than the `http` module.
 *
 * The connection keeps the process alive only while an answer is awaited, so that an empty event loop is noticed.
 */
class RuntimeApi {
  constructor(address) {
    const colon = address.lastIndexOf(':');
    this.host = address.slice(0, colon);
    this.port = Number(address.slice(colon + 1));
    this.address = address;
    this.socket = null;
    this.awaited = null;
    this.reset();
  }

  /** The next invocation: {headers, body}. */
  async next() {
    const answer = await this.request('GET', '/invocation/next');
    if (answer.status !== 200) {
      throw new Error(`Failed to get next invocation, error ${answer.status}`);
    }
    const name = answer.headers['alonzo-connection'];
    if (name !== undefined && this.socket !== null) {
      // Whoever is somewhere in between, and waits for every answer, has connections of other names.
      const { remoteAddress, remotePort, localAddress, localPort } = this.socket;
      this.prompt = name === `${remoteAddress}:${remotePort} ${localAddress}:${localPort}`;
    }
    return answer;
  }

  /** Whatever the answer is, the next invocation is asked for. So, over a connection that allows it, nobody waits. */
  async respond(id, body) {
    const path = `/invocation/${encodeURIComponent(id)}/response`;
    if (!this.prompt || body.length > SMALL) {
      await this.request('POST', path, body);
      return;
    }
    this.owed = true;
    this.write('POST', path, { ...lengthOf(body), 'Alonzo-Answer': 'later' });
    this.socket.write(body);
    this.socket.uncork();
    this.socket.unref();
  }

  fail(id, error) {
    const report = describeError(error);
    const cause = describeCause(error);
    const headers = { 'Lambda-Runtime-Function-Error-Type': headerText(report.errorType) };
    if (cause && cause.length <= CAUSE_LIMIT) {
      headers['Lambda-Runtime-Function-XRay-Error-Cause'] = cause;
    }
    return this.request('POST', `/invocation/${encodeURIComponent(id)}/error`, JSON.stringify(report), headers);
  }

  failInit(error) {
    const report = describeError(error);
    const headers = { 'Lambda-Runtime-Function-Error-Type': headerText(report.errorType) };
    return this.request('POST', '/init/error', JSON.stringify(report), headers);
  }

  request(method, path, body, headers = {}) {
    const answer = this.begin(method, path, body === undefined ? headers : { ...lengthOf(body), ...headers });
    if (body !== undefined) {
      this.socket.write(body);
    }
    this.socket.uncork();
    return answer;
  }

  /** Send a request's head; the caller sends the body and uncorks. A promise of {status, headers, body}. */
  begin(method, path, headers) {
    this.write(method, path, headers);
    return new Promise((resolve, reject) => {
      this.awaited = { resolve, reject };
    });
  }

  write(method, path, headers) {
    const socket = this.socket ?? this.connect();
    socket.ref();
    socket.cork();
    let head = `${method} ${API}${path} HTTP/1.1\r\nHost: ${this.address}\r\n`;
    for (const [name, value] of Object.entries(headers)) {
      head += `${name}: ${value}\r\n`;
    }
    // Written at once as far as the kernel takes it: what follows may be process.exit.
    socket.write(`${head}\r\n`, 'latin1');
  }

  connect() {
    const socket = require('net').connect({ host: this.host, port: this.port, noDelay: true });
    socket.setNoDelay(true);
    socket.on('data', (chunk) => this.receive(chunk));
    socket.on('error', (error) => this.lost(socket, error));
    socket.on('close', () => this.lost(socket, new Error('The connection to the Runtime API was closed.')));
    this.socket = socket;
    return socket;
  }

  /** Make the connection before it is needed; resolves also where that fails, and is tried again with a request. */
  reach() {
    const socket = this.connect();
    return new Promise((resolve) => {
      socket.once('connect', resolve).once('close', resolve);
    }).then(() => socket.unref());
  }

  lost(socket, error) {
    if (this.socket !== socket) {
      return;
    }
    this.socket = null;
    this.reset();
    const { awaited } = this;
    this.awaited = null;
    awaited?.reject(error);
  }

  reset() {
    this.received = [];
    this.size = 0;
    this.expected = -1;
    /** Whether answers to responses may come later; whether one is still to come, before that which is awaited. */
    this.prompt = false;
    this.owed = false;
  }

  receive(chunk) {
    this.received.push(chunk);
    this.size += chunk.length;
    if (this.expected < 0 && !this.head()) {
      return;
    }
    if (this.size < this.expected) {
      return;
    }
    const bytes = this.received.length === 1 ? this.received[0] : Buffer.concat(this.received);
    const answer = { status: this.status, headers: this.headers, body: bytes.subarray(0, this.expected) };
    const rest = bytes.subarray(this.expected);
    this.received = [];
    this.size = 0;
    this.expected = -1;
    if (this.owed) {
      this.owed = false;
      if (rest.length > 0) {
        this.receive(rest);
      }
      return;
    }
    const { awaited } = this;
    this.awaited = null;
    if (this.headers.connection === 'close') {
      this.socket.destroy();
      this.socket = null;
      this.reset();
    } else {
      this.socket.unref();
    }
    awaited?.resolve(answer);
  }

  /** Take the head off what was received; false until it is complete. */
  head() {
    const bytes = this.received.length === 1 ? this.received[0] : Buffer.concat(this.received);
    const end = bytes.indexOf('\r\n\r\n');
    if (end < 0) {
      this.received = [bytes];
      return false;
    }
    const rest = bytes.subarray(end + 4);
    const text = bytes.latin1Slice(0, end);
    // Header values are UTF-8 here: a client context may be anything.
    const [first, ...lines] = (/[\x80-\xff]/.test(text) ? bytes.utf8Slice(0, end) : text).split('\r\n');
    this.received = [rest];
    this.size = rest.length;
    this.status = Number(first.split(' ', 2)[1]);
    if (this.status < 200) {
      return this.head(); // 100 Continue goes before the answer
    }
    this.headers = {};
    for (const line of lines) {
      const colon = line.indexOf(':');
      this.headers[line.slice(0, colon).toLowerCase()] = line.slice(colon + 1).trim();
    }
    this.expected = Number(this.headers['content-length'] ?? 0);
    return true;
  }
}

function lengthOf(body) {
  return { 'Content-Type': 'application/json', 'Content-Length': Buffer.byteLength(body) };
}

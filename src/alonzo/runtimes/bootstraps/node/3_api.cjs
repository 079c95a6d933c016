const CAUSE_LIMIT = 65_536;
const API = '/2018-06-01/runtime';

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
    this.received = [];
    this.size = 0;
    this.expected = -1;
  }

  /** The next invocation: {headers, body}. */
  async next() {
    const answer = await this.request('GET', '/invocation/next');
    if (answer.status !== 200) {
      throw new Error(`Failed to get next invocation, error ${answer.status}`);
    }
    return answer;
  }

  respond(id, body) {
    return this.request('POST', `/invocation/${encodeURIComponent(id)}/response`, body);
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
    const length = body === undefined ? {} : { 'Content-Type': 'application/json', 'Content-Length': Buffer.byteLength(body) };
    const answer = this.begin(method, path, { ...length, ...headers });
    if (body !== undefined) {
      this.socket.write(body);
    }
    this.socket.uncork();
    return answer;
  }

  /** Send a request's head; the caller sends the body and uncorks. A promise of {status, headers, body}. */
  begin(method, path, headers) {
    const socket = this.socket ?? this.connect();
    socket.ref();
    socket.cork();
    let head = `${method} ${API}${path} HTTP/1.1\r\nHost: ${this.address}\r\n`;
    for (const [name, value] of Object.entries(headers)) {
      head += `${name}: ${value}\r\n`;
    }
    // Written at once as far as the kernel takes it: what follows may be process.exit.
    socket.write(`${head}\r\n`, 'latin1');
    return new Promise((resolve, reject) => {
      this.awaited = { resolve, reject };
    });
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
    const body = this.received.length === 1 ? this.received[0] : Buffer.concat(this.received);
    const answer = { status: this.status, headers: this.headers, body: body.subarray(0, this.expected) };
    this.reset();
    const { awaited } = this;
    this.awaited = null;
    if (this.headers.connection === 'close') {
      this.socket.destroy();
      this.socket = null;
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
    const [first, ...lines] = bytes.latin1Slice(0, end).split('\r\n');
    this.received = [rest];
    this.size = rest.length;
    this.status = Number(first.split(' ', 2)[1]);
    if (this.status < 200) {
      return this.head(); // 100 Continue goes before the answer
    }
    this.headers = {};
    for (const line of lines) {
      const colon = line.indexOf(':');
      // Header values are UTF-8 here: a client context may be anything.
      this.headers[line.slice(0, colon).toLowerCase()] = Buffer.from(line.slice(colon + 1).trim(), 'latin1').toString();
    }
    this.expected = Number(this.headers['content-length'] ?? 0);
    return true;
  }
}

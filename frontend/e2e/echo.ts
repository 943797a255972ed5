/// A service behind the gateway that says every WebSocket message again (RFC 6455), and remembers how it was asked.
import { createHash } from 'node:crypto';
import { once } from 'node:events';
import { createServer, type IncomingHttpHeaders, type Server } from 'node:http';
import type { AddressInfo, Socket } from 'node:net';

const GUID = '258EAFA5-E914-47DA-95CA-C5AB0DC85B11';
const CLOSE = 0x8;

export class Echo {
  /** The headers of each request to open a WebSocket. */
  readonly openings: IncomingHttpHeaders[] = [];
  /** The code of each Close that was heard. */
  readonly closes: number[] = [];
  readonly #server: Server;
  readonly #sockets = new Set<Socket>();

  private constructor() {
    this.#server = createServer((_request, response) => response.writeHead(404).end());
    this.#server.on('upgrade', ({ headers }, socket: Socket) => this.#open(headers, socket));
  }

  static async start(): Promise<Echo> {
    const echo = new Echo();
    echo.#server.listen(0, '127.0.0.1');
    await once(echo.#server, 'listening');
    return echo;
  }

  get url(): string {
    return `http://127.0.0.1:${(this.#server.address() as AddressInfo).port}`;
  }

  async stop(): Promise<void> {
    for (const socket of this.#sockets) socket.destroy();
    this.#server.close();
    await once(this.#server, 'close');
  }

  #open(headers: IncomingHttpHeaders, socket: Socket): void {
    this.#sockets.add(socket);
    this.openings.push(headers);
    const key = headers['sec-websocket-key'] ?? '';
    const accept = createHash('sha1')
      .update(key + GUID)
      .digest('base64');
    const chosen = headers['sec-websocket-protocol']?.split(',')[0]?.trim();
    const protocol = chosen === undefined ? '' : `Sec-WebSocket-Protocol: ${chosen}\r\n`;
    socket.write(
      'HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n' +
        `Sec-WebSocket-Accept: ${accept}\r\n${protocol}\r\n`,
    );
    let held: Buffer = Buffer.alloc(0);
    socket.on('error', () => socket.destroy());
    socket.on('close', () => this.#sockets.delete(socket));
    socket.on('data', (data: Buffer) => {
      held = Buffer.concat([held, data]);
      for (let frame = read(held); frame !== undefined; frame = read(held)) {
        held = held.subarray(frame.size);
        socket.write(write(frame.first, frame.payload));
        if ((frame.first & 0xf) !== CLOSE) continue;
        this.closes.push(frame.payload.length < 2 ? 1005 : frame.payload.readUInt16BE());
        socket.end();
      }
    });
  }
}

/** The frame of a client that `held` begins with, if it is whole. */
function read(held: Buffer): { first: number; payload: Buffer; size: number } | undefined {
  if (held.length < 2) return undefined;
  const [first = 0, second = 0] = held;
  const short = second & 0x7f;
  const extended = short === 126 ? 2 : short === 127 ? 8 : 0;
  const begin = 2 + extended + 4;
  if (held.length < begin) return undefined;
  const length = extended === 0 ? short : held.readUIntBE(extended === 8 ? 4 : 2, extended === 8 ? 6 : 2);
  const size = begin + length;
  if (held.length < size) return undefined;
  const mask = held.subarray(begin - 4, begin);
  const payload = Buffer.from(held.subarray(begin, size));
  payload.forEach((byte, at) => (payload[at] = byte ^ (mask[at % 4] ?? 0)));
  return { first, payload, size };
}

function write(first: number, payload: Buffer): Buffer {
  if (payload.length < 126) return Buffer.concat([Buffer.from([first, payload.length]), payload]);
  const head = Buffer.alloc(10);
  head.writeUInt8(first);
  head.writeUInt8(127, 1);
  head.writeUIntBE(payload.length, 4, 6);
  return Buffer.concat([head, payload]);
}

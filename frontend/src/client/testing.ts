/// A browser of several tabs and a server, for the client's tests: in memory, on vitest's clock.
import { vi } from 'vitest';
import { PortcullisClient } from './client.ts';
import type { Channel, Platform } from './platform.ts';

type Handler = (request: Request) => Response | Promise<Response>;

/** A request as the server sees it. */
export interface Request {
  readonly path: string;
  readonly method: string;
  readonly headers: Record<string, string>;
  readonly token: string | null;
  readonly body: unknown;
  readonly signal: AbortSignal | null;
  /** Whether the browser finishes it when the page is gone. */
  readonly keepalive: boolean;
}

/** An access token as the server makes it; `iat` counts on the server's clock, which is hours off ours. */
let made = 0;
export function accessToken(claims: { sid?: string; sub?: string; life?: number } = {}): string {
  made += 1;
  const { sid = 's1', sub = 'u1', life = 300 } = claims;
  const iat = 4_000_000 + Math.floor(Date.now() / 1000);
  const part = (value: unknown) => btoa(JSON.stringify(value)).replaceAll('+', '-').replaceAll('/', '_');
  return `${part({ alg: 'ES256' })}.${part({ iat, exp: iat + life, sid, sub, jti: made })}.signature`;
}

export function json(status: number, body: unknown, headers: Record<string, string> = {}): Response {
  return new Response(JSON.stringify(body), { status, headers });
}

export function refusal(status: number, code: string, headers: Record<string, string> = {}): Response {
  return json(status, { code, detail: `It is ${code}.`, status }, headers);
}

/** Answers by path, and keeps what it was asked. A path without a handler is 404; a handler may throw: no network. */
export class Server {
  readonly requests: Request[] = [];
  readonly #handlers = new Map<string, Handler>();
  /** What protected paths take; a refresh of `refreshing()` makes a new one. */
  good = '';

  on(path: string, handler: Handler): this {
    this.#handlers.set(path, handler);
    return this;
  }

  /** Refreshes succeed, each after `delay` milliseconds and with a new token, the one before it being refused then. */
  refreshing(claims: Parameters<typeof accessToken>[0] = {}, delay = 20): this {
    return this.on('/api/auth/refresh', async () => {
      await new Promise((resolve) => setTimeout(resolve, delay));
      this.good = accessToken(claims);
      return json(200, { access: this.good });
    });
  }

  /** `path` answers 200 to the good token and 401 to any other. */
  protecting(path: string): this {
    return this.on(path, (request) =>
      request.token === this.good ? json(200, { path }) : refusal(401, 'token_not_valid'),
    );
  }

  /** How often `path` was asked. */
  count(path: string): number {
    return this.requests.filter((request) => request.path === path).length;
  }

  readonly fetch = async (input: string, init: RequestInit): Promise<Response> => {
    const headers = init.headers as Record<string, string>;
    const request = {
      path: input,
      method: init.method ?? 'GET',
      headers,
      token: headers.Authorization?.replace('Bearer ', '') ?? null,
      body: typeof init.body === 'string' ? (JSON.parse(init.body) as unknown) : null,
      signal: init.signal ?? null,
      keepalive: init.keepalive ?? false,
    };
    this.requests.push(request);
    const answer = this.#handlers.get(input)?.(request) ?? refusal(404, 'not_found');
    let stop = () => {
      // Until there is somebody to tell.
    };
    const aborted = new Promise<never>((_, reject) => {
      stop = () => reject(new DOMException('aborted', 'AbortError'));
    });
    init.signal?.addEventListener('abort', stop);
    try {
      return await Promise.race([answer, aborted]);
    } finally {
      init.signal?.removeEventListener('abort', stop);
    }
  };
}

/** What the server's event stream needs to be written to by a test. */
export class Stream {
  #controller: ReadableStreamDefaultController<Uint8Array> | null = null;

  response(): Response {
    const body = new ReadableStream<Uint8Array>({
      start: (controller) => {
        this.#controller = controller;
        this.write(': connected\n\n');
      },
    });
    return new Response(body, { headers: { 'content-type': 'text/event-stream' } });
  }

  write(text: string): void {
    this.#controller?.enqueue(new TextEncoder().encode(text));
  }

  end(): void {
    this.#controller?.close();
  }
}

/** Tabs that share locks and channels. */
export class Browser {
  readonly server: Server;
  readonly #channels = new Set<{ name: string; hear: (message: unknown) => unknown }>();
  readonly #queues = new Map<string, (() => void)[]>();
  readonly #tabs: PortcullisClient[] = [];
  /** Wakes all tabs, as a computer that slept does. */
  readonly wakes = new Set<() => void>();

  constructor(server: Server) {
    this.server = server;
  }

  tab(without: Partial<Pick<Platform, 'locks' | 'openChannel'>> = {}): PortcullisClient {
    const platform: Platform = {
      fetch: this.server.fetch,
      now: () => performance.now(),
      random: () => 0.5,
      locks: { request: this.#request } as unknown as LockManager,
      openChannel: (name) => this.#open(name),
      onWake: (callback) => {
        this.wakes.add(callback);
        return () => this.wakes.delete(callback);
      },
      ...without,
    };
    const client = new PortcullisClient({ platform });
    this.#tabs.push(client);
    return client;
  }

  /** Tells all tabs something, as another one that has not heard the latest news might. */
  say(message: unknown): void {
    for (const { hear } of this.#channels) hear(message);
  }

  close(): void {
    for (const tab of this.#tabs) tab.close();
  }

  #open(name: string): Channel {
    const mine = { name, hear: (message: unknown): unknown => message };
    this.#channels.add(mine);
    return {
      post: (message) => {
        const others = [...this.#channels].filter((one) => one !== mine && one.name === name);
        const copy = structuredClone(message);
        // As in a browser: later, and not before what the sender does next.
        setTimeout(() => others.forEach((one) => this.#channels.has(one) && one.hear(copy)), 1);
      },
      listen: (listener) => {
        mine.hear = listener;
      },
      close: () => this.#channels.delete(mine),
    };
  }

  readonly #request = async (
    name: string,
    options: LockOptions,
    task: (lock: unknown) => unknown,
  ): Promise<unknown> => {
    const queue = this.#queues.get(name);
    if (queue !== undefined) {
      if (options.ifAvailable === true) return task(null);
      await new Promise<void>((resolve, reject) => {
        queue.push(resolve);
        options.signal?.addEventListener('abort', () => {
          const place = queue.indexOf(resolve);
          if (place >= 0) queue.splice(place, 1);
          reject(new DOMException('aborted', 'AbortError'));
        });
      });
    } else {
      this.#queues.set(name, []);
    }
    try {
      return await task({ name });
    } finally {
      const next = this.#queues.get(name)?.shift();
      if (next === undefined) this.#queues.delete(name);
      else next();
    }
  };
}

/** Lets `milliseconds` pass, and everything that they set off. */
export async function pass(milliseconds: number): Promise<void> {
  await vi.advanceTimersByTimeAsync(milliseconds);
}

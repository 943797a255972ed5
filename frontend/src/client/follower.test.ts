/// The server's events: who listens, what the end of a session looks like, and when to connect again.
import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest';
import { parseEvent, parseRevocation } from './events.ts';
import { Browser, Server, Stream, pass, refusal, type Request } from './testing.ts';

const REFRESH = '/api/auth/refresh';
const EVENTS = '/api/auth/events';
const REVOKED = 'event: revoked\ndata: {"code": "user_inactive", "detail": "User is inactive"}\n\n';
let server: Server;
let browser: Browser;
let streams: Stream[];

beforeEach(() => {
  vi.useFakeTimers();
  streams = [];
  server = new Server().refreshing();
  server.on(EVENTS, (request) => {
    if (request.token !== server.good) return refusal(401, 'token_not_valid');
    const stream = new Stream();
    streams.push(stream);
    return stream.response();
  });
  browser = new Browser(server);
});

afterEach(() => {
  browser.close();
  vi.useRealTimers();
});

async function signedIn(without: Parameters<Browser['tab']>[0] = {}) {
  const tab = browser.tab(without);
  void tab.restore();
  await pass(400);
  expect(tab.snapshot.status).toBe('signed-in');
  return tab;
}

describe('listening', () => {
  it('is done by one tab, and the next one when it closes', async () => {
    const first = await signedIn();
    await signedIn();
    await signedIn();
    expect(server.count(EVENTS)).toBe(1);
    first.close();
    await pass(10);
    expect(server.count(EVENTS)).toBe(2);
  });

  it('is done by every tab when they cannot talk to each other', async () => {
    await signedIn({ openChannel: () => null });
    await signedIn({ openChannel: () => null });
    expect(server.count(EVENTS)).toBe(2);
  });

  it('ends when somebody signs out', async () => {
    server.on('/api/auth/logout', () => new Response(null, { status: 205 }));
    const tab = await signedIn();
    const listening = server.requests.find(({ path }) => path === EVENTS);
    expect(listening?.signal?.aborted).toBe(false);
    await tab.signOut();
    expect(listening?.signal?.aborted).toBe(true);
    await pass(120_000);
    expect(server.count(EVENTS)).toBe(1);
  });
});

describe('the event revoked', () => {
  it('signs out all tabs at once, with the reason', async () => {
    const [first, second] = [await signedIn(), await signedIn()];
    streams[0]?.write(REVOKED);
    await pass(10);
    const ending = { cause: 'ended', code: 'user_inactive', detail: 'User is inactive' };
    expect(first.snapshot).toEqual({ status: 'signed-out', ending });
    expect(second.snapshot).toEqual({ status: 'signed-out', ending });
    expect(server.count(REFRESH)).toBe(2);
  });

  it('is understood when it arrives in pieces', async () => {
    const tab = await signedIn();
    for (const piece of REVOKED) {
      streams[0]?.write(piece);
      await pass(1);
    }
    expect(tab.snapshot.status).toBe('signed-out');
  });

  it('that this tab caused itself leaves the reason to the app', async () => {
    const tab = await signedIn();
    await tab.endSession({ cause: 'request', notice: 'deleted' }, async () => {
      streams[0]?.write(REVOKED);
      await pass(50);
      expect(tab.snapshot.status).toBe('signed-in');
    });
    expect(tab.snapshot).toEqual({
      status: 'signed-out',
      ending: { cause: 'request', notice: 'deleted' },
    });
  });

  it('counts when the request that was to end the session failed', async () => {
    const tab = await signedIn();
    const failed = tab.endSession({ cause: 'logout' }, async () => {
      streams[0]?.write(REVOKED);
      await pass(50);
      throw new Error('no answer');
    });
    await expect(failed).rejects.toThrow('no answer');
    expect(tab.snapshot).toMatchObject({ status: 'signed-out', ending: { code: 'user_inactive' } });
  });

  it('heard by one tab before the news of a logout in another leaves the reason to that one', async () => {
    server.on('/api/auth/logout', async () => {
      streams[0]?.write(REVOKED);
      await new Promise((resolve) => setTimeout(resolve, 50));
      return new Response(null, { status: 205 });
    });
    const [listening, other] = [await signedIn(), await signedIn()];
    const out = other.signOut();
    await pass(10);
    expect(listening.snapshot).toMatchObject({ ending: { cause: 'ended' } });
    await pass(100);
    await out;
    expect(other.snapshot).toMatchObject({ ending: { cause: 'logout' } });
    expect(listening.snapshot).toMatchObject({ ending: { cause: 'logout' } });
  });
});

describe('a stream that ends', () => {
  it('without news is opened again, with the token of the day', async () => {
    const tab = await signedIn();
    for (let beat = 0; beat < 10; beat += 1) {
      await pass(28_000);
      streams[0]?.write(': still here\n\n');
    }
    expect(server.count(REFRESH)).toBe(2);
    streams[0]?.end();
    await pass(600);
    expect(server.count(EVENTS)).toBe(2);
    expect(server.requests.findLast(({ path }) => path === EVENTS)?.token).toBe(server.good);
    expect(tab.snapshot.status).toBe('signed-in');
  });

  it('because the session did, signs out: the token is refused, and so is the refresh', async () => {
    const tab = await signedIn();
    await pass(10_000);
    server.good = 'none';
    server.on(REFRESH, () => refusal(401, 'token_not_valid'));
    streams[0]?.end();
    await pass(1_000);
    expect(tab.snapshot).toMatchObject({ status: 'signed-out', ending: { cause: 'ended' } });
  });

  it('at once, again and again, is opened ever more rarely', async () => {
    server.on(EVENTS, () => refusal(503, 'revocations_unknown', { 'Retry-After': '1' }));
    const tab = await signedIn();
    await pass(60_000);
    expect(server.count(EVENTS)).toBeLessThan(12);
    expect(tab.snapshot).toMatchObject({ status: 'signed-in', outage: null });
  });

  it.each([
    ['greeted', 0],
    ['opened', 2_100],
    ['opened', 14_000],
  ])('when it was %s only %i ms ago is opened ever more rarely', async (_, life) => {
    server.on(EVENTS, () => {
      const stream = new Stream();
      setTimeout(() => stream.end(), life);
      return stream.response();
    });
    await signedIn();
    await pass(60_000);
    expect(server.count(EVENTS)).toBeLessThan(8);
    const before = server.count(EVENTS);
    await pass(240_000);
    expect(server.count(EVENTS) - before).toBeGreaterThanOrEqual(5);
    // The longest pause is between 15 and 30 s, here 22.5 s.
    expect(server.count(EVENTS) - before).toBeLessThanOrEqual(11);
  });

  it('after it has lived is opened again at once, whatever came before', async () => {
    const working = (request: Request) => {
      expect(request.token).toBe(server.good);
      const stream = new Stream();
      streams.push(stream);
      return stream.response();
    };
    server.on(EVENTS, () => refusal(503, 'busy'));
    await signedIn();
    await pass(60_000);
    server.on(EVENTS, working);
    await pass(30_000);
    expect(streams).toHaveLength(1);
    await pass(16_000);
    streams[0]?.end();
    await pass(600);
    expect(streams).toHaveLength(2);
    streams[1]?.end();
    await pass(1_000);
    expect(streams).toHaveLength(3);
  });

  it('before it has begun is given up after 15 s, and opened again', async () => {
    server.on(EVENTS, () => new Promise(() => undefined));
    const tab = await signedIn();
    const first = server.requests.find(({ path }) => path === EVENTS);
    await pass(14_000);
    expect(first?.signal?.aborted).toBe(false);
    await pass(1_000);
    expect(first?.signal?.aborted).toBe(true);
    await pass(1_000);
    expect(server.count(EVENTS)).toBe(2);
    expect(tab.snapshot).toMatchObject({ status: 'signed-in', outage: null });
  });

  it('before the reason of a refusal is told is given up after 15 s too', async () => {
    server.on(EVENTS, ({ signal }) => {
      const body = new ReadableStream<Uint8Array>({
        start: (controller) =>
          signal?.addEventListener('abort', () =>
            controller.error(new DOMException('aborted', 'AbortError')),
          ),
      });
      return new Response(body, { status: 503 });
    });
    await signedIn();
    await pass(17_000);
    expect(server.count(EVENTS)).toBe(2);
  });

  it('is noticed by its silence', async () => {
    await signedIn();
    for (let beat = 0; beat < 6; beat += 1) {
      await pass(15_000);
      streams[0]?.write(': still here\n\n');
    }
    expect(server.count(EVENTS)).toBe(1);
    await pass(46_000);
    expect(server.count(EVENTS)).toBe(2);
  });
});

describe('parsing', () => {
  it('reads names and data, of several lines too', () => {
    expect(parseEvent('event: x\ndata: a\ndata: b')).toEqual({ name: 'x', data: 'a\nb' });
    expect(parseEvent('data:a:b')).toEqual({ name: 'message', data: 'a:b' });
    expect(parseEvent(': connected')).toBeNull();
  });

  it('takes any revocation for one, whatever it says', () => {
    expect(parseRevocation('{"code": "a", "detail": "b"}')).toEqual({ code: 'a', detail: 'b' });
    expect(parseRevocation('<nonsense>').code).toBe('token_not_valid');
  });
});

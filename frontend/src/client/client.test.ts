/// Refreshing: when, how often, and what its failures mean.
import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest';
import { ApiError, SignedOutError } from './errors.ts';
import { Browser, Server, Stream, accessToken, json, pass, refusal } from './testing.ts';

const REFRESH = '/api/auth/refresh';
let server: Server;
let browser: Browser;

beforeEach(() => {
  vi.useFakeTimers();
  server = new Server().refreshing().protecting('/a').protecting('/b');
  browser = new Browser(server);
});

afterEach(() => {
  browser.close();
  vi.useRealTimers();
});

/** A tab in which somebody is signed in. */
async function signedIn() {
  const tab = browser.tab();
  const restored = tab.restore();
  await pass(50);
  await restored;
  expect(tab.snapshot).toMatchObject({ status: 'signed-in', userId: 'u1', sessionId: 's1', outage: null });
  return tab;
}

describe('a page that is loaded', () => {
  it('finds the session by its cookie, of which it knows nothing', async () => {
    const tab = browser.tab();
    expect(tab.snapshot.status).toBe('restoring');
    void tab.restore();
    await pass(50);
    expect(tab.snapshot.status).toBe('signed-in');
    expect(server.requests[0]).toMatchObject({ path: REFRESH, method: 'POST', token: null, body: {} });
    expect(server.requests[0]?.headers['X-Token-Delivery']).toBe('cookie');
  });

  it('without a cookie is signed out, and nothing has ended', async () => {
    server.on(REFRESH, () => refusal(401, 'not_authenticated'));
    const tab = browser.tab();
    await tab.restore();
    expect(tab.snapshot).toEqual({ status: 'signed-out', ending: { cause: 'none' } });
  });

  it('with the cookie of a session that is over says that it has ended', async () => {
    server.on(REFRESH, () => refusal(401, 'token_not_valid'));
    const tab = browser.tab();
    await tab.restore();
    expect(tab.snapshot).toMatchObject({ ending: { cause: 'ended', code: 'token_not_valid' } });
  });

  it('waits through an outage and is signed in after it', async () => {
    server.on(REFRESH, () => refusal(503, 'store_unavailable', { 'Retry-After': '3' }));
    const tab = browser.tab();
    await tab.restore();
    expect(tab.snapshot).toMatchObject({
      status: 'restoring',
      outage: { detail: 'It is store_unavailable.' },
    });
    server.refreshing();
    await pass(2_900);
    expect(server.count(REFRESH)).toBe(1);
    await pass(1_000);
    expect(tab.snapshot).toMatchObject({ status: 'signed-in', outage: null });
  });
});

describe('a request that is refused', () => {
  it('is sent again after one refresh', async () => {
    const tab = await signedIn();
    server.good = 'another';
    const answer = tab.json('/a');
    await pass(50);
    await expect(answer).resolves.toMatchObject({ body: { path: '/a' } });
    expect(server.count('/a')).toBe(2);
    expect(server.count(REFRESH)).toBe(2);
  });

  it('shares that refresh with the others that were refused', async () => {
    const tab = await signedIn();
    server.good = 'another';
    const answers = ['/a', '/b', '/a', '/b', '/a'].map((path) => tab.json(path));
    await pass(50);
    expect(await Promise.all(answers)).toHaveLength(5);
    expect(server.count(REFRESH)).toBe(2);
    expect(server.requests.filter(({ path }) => path === '/a' || path === '/b')).toHaveLength(10);
  });

  it('does not refresh again when its token has been replaced while it was under way', async () => {
    const tab = await signedIn();
    const stale = server.good;
    server.on('/slow', async (request) => {
      await new Promise((resolve) => setTimeout(resolve, 500));
      return request.token === stale ? refusal(401, 'token_not_valid') : json(200, 'late');
    });
    const late = tab.json('/slow');
    await pass(10);
    void tab.retry();
    await pass(1_200);
    await expect(late).resolves.toMatchObject({ body: 'late' });
    expect(server.count(REFRESH)).toBe(2);
  });

  it('twice is given back, refreshed once, and signs nobody out', async () => {
    server.on('/never', () => refusal(401, 'token_not_valid'));
    const tab = await signedIn();
    const answer = tab.json('/never').catch((error: unknown) => error);
    await pass(50);
    expect(await answer).toMatchObject({ status: 401, code: 'token_not_valid' });
    expect(server.count('/never')).toBe(2);
    expect(server.count(REFRESH)).toBe(2);
    expect(tab.snapshot.status).toBe('signed-in');
  });

  it('keeps its method and body when it is repeated', async () => {
    server.on('/form', ({ token, method, body }) =>
      token === server.good ? json(200, { method, body }) : refusal(401, 'token_not_valid'),
    );
    const tab = await signedIn();
    server.good = 'another';
    const answer = tab.json('/form', { method: 'PATCH', json: { username: 'ada' } });
    await pass(50);
    await expect(answer).resolves.toMatchObject({ body: { method: 'PATCH', body: { username: 'ada' } } });
  });
});

describe('the access token', () => {
  it('is replaced 30 s before its end, whatever our clock says', async () => {
    await signedIn();
    vi.setSystemTime(new Date('1999-01-01'));
    await pass(269_900);
    expect(server.count(REFRESH)).toBe(1);
    await pass(200);
    expect(server.count(REFRESH)).toBe(2);
  });

  it('is replaced after four fifths of a short life', async () => {
    server.refreshing({ life: 5 });
    await signedIn();
    await pass(3_900);
    expect(server.count(REFRESH)).toBe(1);
    await pass(200);
    expect(server.count(REFRESH)).toBe(2);
  });

  it('that is dead on arrival, as at the very end of a session, is not replaced in a hurry', async () => {
    server.refreshing({ life: 0 }, 1);
    server.on('/api/auth/events', () => new Promise(() => undefined));
    const tab = browser.tab();
    void tab.restore();
    await pass(10_000);
    expect(tab.snapshot.status).toBe('signed-in');
    expect(server.count(REFRESH)).toBeGreaterThanOrEqual(9);
    expect(server.count(REFRESH)).toBeLessThanOrEqual(11);
  });

  it('is not sent when it is known to be dead', async () => {
    const tab = await signedIn();
    server.on(REFRESH, () => refusal(503, 'store_unavailable'));
    await pass(301_000);
    const asked = server.count('/a');
    const answer = tab.json('/a').catch((error: unknown) => error);
    await pass(10);
    expect(await answer).toMatchObject({ status: 503 });
    expect(server.count('/a')).toBe(asked);
  });

  it('that was due while the computer slept is replaced when it wakes', async () => {
    const tab = await signedIn();
    const before = server.good;
    // The timers stood still; the monotonic clock did not.
    vi.spyOn(performance, 'now').mockReturnValue(performance.now() + 280_000);
    for (const wake of browser.wakes) wake();
    await pass(50);
    expect(server.good).not.toBe(before);
    expect(tab.snapshot.status).toBe('signed-in');
    vi.restoreAllMocks();
  });

  it('that cannot be read is used until it is refused', async () => {
    server.on(REFRESH, () => json(200, { access: (server.good = 'opaque') }));
    const tab = browser.tab();
    await tab.restore();
    expect(tab.snapshot).toMatchObject({ status: 'signed-in', userId: null });
    await pass(3_600_000);
    expect(server.count(REFRESH)).toBe(1);
    await expect(tab.json('/a')).resolves.toMatchObject({ body: { path: '/a' } });
  });
});

describe('a refresh that fails', () => {
  const outages: [string, () => Response][] = [
    ['503', () => refusal(503, 'store_unavailable')],
    ['502 of a proxy that speaks no JSON', () => new Response('<html>', { status: 502 })],
    ['500', () => refusal(500, 'internal')],
    ['429', () => refusal(429, 'throttled')],
    ['403', () => refusal(403, 'csrf_failed')],
    ['400', () => refusal(400, 'invalid')],
    ['200 without a token', () => json(200, {})],
    [
      'no network',
      () => {
        throw new TypeError('Failed to fetch');
      },
    ],
  ];

  it.each(outages)('with %s signs nobody out', async (_, answer) => {
    const tab = await signedIn();
    server.on(REFRESH, answer);
    await tab.retry();
    expect(tab.snapshot).toMatchObject({ status: 'signed-in', userId: 'u1' });
    expect(tab.snapshot).toHaveProperty('outage.detail');
  });

  it('with 401 signs out, with the reason', async () => {
    const tab = await signedIn();
    server.on(REFRESH, () => refusal(401, 'no_active_account'));
    await tab.retry();
    const ending = { cause: 'ended', code: 'no_active_account', detail: 'It is no_active_account.' };
    expect(tab.snapshot).toEqual({ status: 'signed-out', ending });
    await expect(tab.request('/a')).rejects.toBeInstanceOf(SignedOutError);
    expect(server.count('/a')).toBe(0);
  });

  it('with 401 because the cookie is gone signs out too, and says that the session is over', async () => {
    const tab = await signedIn();
    server.on(REFRESH, () => refusal(401, 'not_authenticated'));
    await tab.retry();
    expect(tab.snapshot).toMatchObject({ ending: { cause: 'ended', code: 'not_authenticated' } });
  });

  it('is tried again no sooner than Retry-After says, and then works', async () => {
    const tab = await signedIn();
    server.on(REFRESH, () => refusal(503, 'store_unavailable', { 'Retry-After': '20' }));
    await tab.retry();
    const asked = server.count(REFRESH);
    server.refreshing();
    await pass(19_900);
    expect(server.count(REFRESH)).toBe(asked);
    await pass(2_000);
    expect(server.count(REFRESH)).toBe(asked + 1);
    expect(tab.snapshot).toMatchObject({ status: 'signed-in', outage: null });
  });

  it('is not tried again before that by a request either, but is when a person asks for it', async () => {
    const tab = await signedIn();
    server.good = 'another';
    server.on(REFRESH, () => refusal(503, 'store_unavailable', { 'Retry-After': '20' }));
    await expect(tab.json('/a')).rejects.toMatchObject({ status: 503 });
    const asked = server.count(REFRESH);
    await expect(tab.json('/a')).rejects.toMatchObject({ status: 503, retryAfter: 20_000 });
    for (const wake of browser.wakes) wake();
    await pass(100);
    expect(server.count(REFRESH)).toBe(asked);
    server.refreshing();
    void tab.retry();
    await pass(100);
    await expect(tab.json('/a')).resolves.toMatchObject({ body: { path: '/a' } });
  });

  it('again and again is tried ever more rarely, but not less than every 30 s', async () => {
    const stream = new Stream();
    server.on('/api/auth/events', () => stream.response());
    setInterval(() => stream.write(': still here\n\n'), 15_000);
    const tab = await signedIn();
    server.on(REFRESH, () => refusal(503, 'store_unavailable'));
    await tab.retry();
    const first = server.count(REFRESH);
    await pass(60_000);
    const minute = server.count(REFRESH) - first;
    await pass(600_000);
    const later = server.count(REFRESH) - first - minute;
    expect(minute).toBeLessThan(10);
    expect(later).toBeGreaterThanOrEqual(20);
    expect(later).toBeLessThan(40);
  });

  it('that never ends is given up after 10 s', async () => {
    const tab = await signedIn();
    server.on(REFRESH, () => new Promise(() => undefined));
    void tab.retry();
    await pass(9_000);
    expect(tab.snapshot).toMatchObject({ outage: null });
    await pass(1_500);
    expect(tab.snapshot).toMatchObject({
      status: 'signed-in',
      outage: { detail: expect.stringMatching(/reached/) as string },
    });
  });
});

describe('a request about the session', () => {
  it('outlives the page, so that the browser gets the cookie that the server has made; others do not', async () => {
    server.on('/api/auth/login', () => json(200, { access: (server.good = accessToken()) }));
    server.on('/api/auth/logout', () => new Response(null, { status: 205 }));
    const tab = await signedIn();
    await tab.signIn('/api/auth/login', { email: 'ada@example.com', password: 'correct horse' });
    const answer = tab.json('/a', { method: 'POST', json: {} });
    await pass(10);
    await answer;
    await tab.signOut();
    const keepalive = Object.fromEntries(server.requests.map((request) => [request.path, request.keepalive]));
    expect(keepalive).toMatchObject({
      [REFRESH]: true,
      '/api/auth/login': true,
      '/api/auth/logout': true,
      '/a': false,
      '/api/auth/events': false,
    });
  });

  it('is sent all the same when it is longer than what browsers let outlive a page', async () => {
    server.on('/api/auth/login', () => refusal(400, 'invalid'));
    const tab = await signedIn();
    const password = '\u20ac'.repeat(22_000);
    await expect(tab.signIn('/api/auth/login', { password })).rejects.toMatchObject({ status: 400 });
    expect(server.requests.find(({ path }) => path === '/api/auth/login')?.keepalive).toBe(false);
  });
});

describe('signing in and out', () => {
  it('gives the body of the answer, and asks for delivery by cookie', async () => {
    server.on(REFRESH, () => refusal(401, 'not_authenticated'));
    server.on('/api/auth/login', () => json(200, { access: accessToken(), user: { username: 'ada' } }));
    const tab = browser.tab();
    await tab.restore();
    const body = await tab.signIn('/api/auth/login', {
      email: 'ada@example.com',
      password: 'correct horse',
    });
    expect(body.user).toEqual({ username: 'ada' });
    expect(tab.snapshot.status).toBe('signed-in');
    expect(server.requests.at(-1)?.path).not.toBe(REFRESH);
    const login = server.requests.find(({ path }) => path === '/api/auth/login');
    expect(login?.headers['X-Token-Delivery']).toBe('cookie');
  });

  it('with wrong credentials fails with what the server says, and nothing changes', async () => {
    server.on(REFRESH, () => refusal(401, 'not_authenticated'));
    server.on('/api/auth/login', () => refusal(401, 'no_active_account'));
    const tab = browser.tab();
    await tab.restore();
    const failure = tab.signIn('/api/auth/login', {}).catch((error: unknown) => error);
    expect(await failure).toBeInstanceOf(ApiError);
    expect(tab.snapshot).toEqual({ status: 'signed-out', ending: { cause: 'none' } });
  });

  it('out ends the session at the server before it ends here', async () => {
    const tab = await signedIn();
    const token = server.good;
    server.on('/api/auth/logout', () => new Response(null, { status: 205 }));
    await tab.signOut();
    expect(server.requests.at(-1)).toMatchObject({ path: '/api/auth/logout', token });
    expect(tab.snapshot).toEqual({ status: 'signed-out', ending: { cause: 'logout' } });
    await pass(600_000);
    expect(server.count(REFRESH)).toBe(1);
  });

  it('out fails while the server is away, and the session goes on', async () => {
    const tab = await signedIn();
    server.on('/api/auth/logout', () => refusal(503, 'store_unavailable'));
    await expect(tab.signOut()).rejects.toMatchObject({ status: 503, temporary: true });
    expect(tab.snapshot.status).toBe('signed-in');
  });

  it('out while a refresh is under way stays out', async () => {
    const tab = await signedIn();
    server.on('/api/auth/logout', () => new Response(null, { status: 205 }));
    void tab.retry();
    const out = tab.signOut();
    await pass(400);
    await out;
    expect(tab.snapshot.status).toBe('signed-out');
    await pass(600_000);
    expect(tab.snapshot.status).toBe('signed-out');
  });
});

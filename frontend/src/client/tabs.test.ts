/// Several tabs of one browser: one refresh, one login, one logout for all of them.
import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest';
import type { PortcullisClient } from './client.ts';
import { Browser, Server, Stream, accessToken, json, pass, refusal } from './testing.ts';

const REFRESH = '/api/auth/refresh';
const EVENTS = '/api/auth/events';
let server: Server;
let browser: Browser;

beforeEach(() => {
  vi.useFakeTimers();
  server = new Server().refreshing().protecting('/a');
  server.on('/api/auth/logout', () => new Response(null, { status: 205 }));
  browser = new Browser(server);
});

afterEach(() => {
  browser.close();
  vi.useRealTimers();
});

async function signedIn(count: number): Promise<PortcullisClient[]> {
  const tabs = Array.from({ length: count }, () => browser.tab());
  for (const tab of tabs) void tab.restore();
  await pass(400);
  expect(tabs.map((tab) => tab.snapshot.status)).toEqual(tabs.map(() => 'signed-in'));
  return tabs;
}

describe('tabs that refresh', () => {
  it('at their start share one refresh', async () => {
    await signedIn(5);
    expect(server.count(REFRESH)).toBe(1);
  });

  it('because of refused requests share one refresh', async () => {
    const tabs = await signedIn(3);
    server.good = 'another';
    const answers = tabs.flatMap((tab) => [tab.json('/a'), tab.json('/a')]);
    await pass(400);
    expect(await Promise.all(answers)).toHaveLength(6);
    expect(server.count(REFRESH)).toBe(2);
  });

  it('before the token dies share one refresh, each time', async () => {
    await signedIn(4);
    for (let round = 1; round <= 5; round += 1) {
      await pass(271_000);
      expect(server.count(REFRESH)).toBe(1 + round);
    }
  });

  it('go on when the tab that refreshed is closed', async () => {
    const [first, second] = await signedIn(2);
    first?.close();
    await pass(290_000);
    expect(server.count(REFRESH)).toBe(2);
    const answer = second?.json('/a');
    await pass(10);
    await expect(answer).resolves.toMatchObject({ body: { path: '/a' } });
  });

  it('try for themselves when the one before failed', async () => {
    const [first, second] = await signedIn(2);
    let failures = 1;
    server.on(REFRESH, () => {
      failures -= 1;
      return failures >= 0 ? refusal(503, 'busy') : json(200, { access: (server.good = accessToken()) });
    });
    void first?.retry();
    void second?.retry();
    await pass(400);
    expect(server.count(REFRESH)).toBe(3);
    expect(second?.snapshot).toMatchObject({ status: 'signed-in', outage: null });
    expect(first?.snapshot).toMatchObject({ status: 'signed-in', outage: null });
  });

  it('each do it themselves without Web Locks', async () => {
    const tabs = [browser.tab({ locks: null }), browser.tab({ locks: null })];
    for (const tab of tabs) void tab.restore();
    await pass(400);
    expect(tabs.map((tab) => tab.snapshot.status)).toEqual(['signed-in', 'signed-in']);
    expect(server.count(REFRESH)).toBe(2);
  });

  it('take turns without BroadcastChannel', async () => {
    const tabs = [1, 2].map(() => browser.tab({ openChannel: () => null }));
    for (const tab of tabs) void tab.restore();
    await pass(30);
    expect(server.count(REFRESH)).toBe(2);
    await pass(400);
    expect(tabs.map((tab) => tab.snapshot.status)).toEqual(['signed-in', 'signed-in']);
  });

  it('do not wait for ever for a tab that hangs', async () => {
    const [first, second] = await signedIn(2);
    server.on('/api/auth/login', () => new Promise(() => undefined));
    void first?.signIn('/api/auth/login', {}).catch(() => undefined);
    await pass(1);
    server.good = 'another';
    const answer = second?.json('/a');
    await pass(21_000);
    await expect(answer).resolves.toMatchObject({ body: { path: '/a' } });
  });
});

describe('a session', () => {
  it('that is opened in one tab is open in all', async () => {
    server.on(REFRESH, () => refusal(401, 'not_authenticated'));
    server.on('/api/auth/login', () =>
      json(200, { access: (server.good = accessToken({ sid: 's2' })), user: {} }),
    );
    const [first, second] = [browser.tab(), browser.tab()];
    void first.restore();
    void second.restore();
    await pass(400);
    expect(second.snapshot.status).toBe('signed-out');
    await first.signIn('/api/auth/login', {});
    await pass(10);
    expect(second.snapshot).toMatchObject({ status: 'signed-in', sessionId: 's2' });
    await expect(second.json('/a')).resolves.toMatchObject({ body: { path: '/a' } });
  });

  it('that is signed out in one tab is over in all', async () => {
    const [first, second, third] = await signedIn(3);
    await first?.signOut();
    await pass(10);
    for (const tab of [second, third]) {
      expect(tab?.snapshot).toEqual({ status: 'signed-out', ending: { cause: 'logout' } });
    }
  });

  it('that is refused to one tab is over in all', async () => {
    const [first, second] = await signedIn(2);
    server.on(REFRESH, () => refusal(401, 'user_inactive'));
    await first?.retry();
    await pass(10);
    expect(second?.snapshot).toMatchObject({ status: 'signed-out', ending: { code: 'user_inactive' } });
  });

  it('is not over because a new tab finds no cookie', async () => {
    const [first] = await signedIn(1);
    server.on(REFRESH, () => refusal(401, 'not_authenticated'));
    const second = browser.tab();
    await second.restore();
    await pass(10);
    expect(first?.snapshot.status).toBe('signed-in');
  });

  it('of somebody else, opened after it, outlives the news of its end', async () => {
    const [first, second] = await signedIn(2);
    server.on('/api/auth/login', () =>
      json(200, { access: (server.good = accessToken({ sid: 's9', sub: 'u9' })) }),
    );
    await first?.signOut();
    await first?.signIn('/api/auth/login', {});
    await pass(10);
    for (const tab of [first, second]) {
      expect(tab?.snapshot).toMatchObject({ status: 'signed-in', userId: 'u9', sessionId: 's9' });
    }
  });

  it('is not brought back by a refresh that was under way when it ended', async () => {
    const [first, second] = await signedIn(2);
    server.refreshing({}, 1_000);
    void second?.retry();
    await pass(10);
    const stream = new Stream();
    server.on(EVENTS, () => stream.response());
    await pass(900);
    // The server's news arrive in the other tab before the answer does.
    const ended = first?.endSession({ cause: 'request', notice: 'deleted' }, () => Promise.resolve());
    await ended;
    await pass(2_000);
    expect(second?.snapshot).toMatchObject({ status: 'signed-out', ending: { notice: 'deleted' } });
    expect(first?.snapshot.status).toBe('signed-out');
  });
});

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

  it('do not keep the others waiting', async () => {
    const tabs = await signedIn(3);
    server.good = 'another';
    const answers = tabs.map((tab) => tab.json('/a'));
    let done = false;
    void Promise.all(answers).then(() => (done = true));
    // The refresh takes 20 ms, and each message between tabs one.
    await pass(30);
    expect(done).toBe(true);
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

  it('without Web Locks still share it among the requests of each', async () => {
    const tab = browser.tab({ locks: null });
    void tab.restore();
    await pass(50);
    server.good = 'another';
    const answers = Promise.all([1, 2, 3, 4, 5].map(() => tab.json('/a')));
    await pass(50);
    expect(await answers).toHaveLength(5);
    expect(server.count(REFRESH)).toBe(2);
  });

  it('without Web Locks are not signed out by an answer that another login has overtaken', async () => {
    const tab = browser.tab({ locks: null });
    void tab.restore();
    await pass(50);
    server.on(REFRESH, async () => {
      await new Promise((resolve) => setTimeout(resolve, 1_000));
      return refusal(401, 'token_not_valid');
    });
    void tab.retry();
    await pass(500);
    server.good = accessToken({ sid: 's2' });
    browser.say({ type: 'session', access: server.good, remaining: 300_000 });
    await pass(1_000);
    expect(tab.snapshot).toMatchObject({ status: 'signed-in', sessionId: 's2' });
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

describe('a browser that has Web Locks and refuses them', () => {
  const refused = () => Promise.reject(new DOMException('not here', 'SecurityError'));
  const locks = { request: refused } as unknown as LockManager;

  it('restores the session without', async () => {
    const tab = browser.tab({ locks });
    void tab.restore();
    await pass(400);
    expect(tab.snapshot.status).toBe('signed-in');
    expect(server.count(REFRESH)).toBe(1);
  });

  it('listens to events without', async () => {
    const tab = browser.tab({ locks });
    void tab.restore();
    await pass(400);
    expect(server.count(EVENTS)).toBe(1);
  });

  it('only while another tab has the lock waits for none', async () => {
    const once = (_: string, options: LockOptions, task: (lock: null) => unknown) =>
      options.ifAvailable === true ? Promise.resolve(task(null)) : refused();
    const tab = browser.tab({ locks: { request: once } as unknown as LockManager });
    void tab.restore();
    await pass(400);
    expect(tab.snapshot.status).toBe('signed-in');
  });
});

describe('what is done under a lock', () => {
  it('and fails is not done again', async () => {
    const [first] = await signedIn(1);
    server.on('/api/auth/login', () => refusal(401, 'no_active_account'));
    await expect(first?.signIn('/api/auth/login', {})).rejects.toMatchObject({ code: 'no_active_account' });
    expect(server.count('/api/auth/login')).toBe(1);
  });

  it('and fails after waiting for another tab is not done again', async () => {
    const [first, second] = await signedIn(2);
    server.on('/api/auth/login', async () => {
      await new Promise((resolve) => setTimeout(resolve, 100));
      return refusal(401, 'no_active_account');
    });
    const failures: unknown[] = [];
    for (const tab of [first, second])
      void tab?.signIn('/api/auth/login', {}).catch((error: unknown) => failures.push(error));
    await pass(400);
    expect(failures).toMatchObject([{ code: 'no_active_account' }, { code: 'no_active_account' }]);
    expect(server.count('/api/auth/login')).toBe(2);
  });

  it('counts although the lock is lost meanwhile', async () => {
    const lost = (_: string, __: LockOptions, task: (lock: unknown) => unknown) => {
      void task({});
      return Promise.reject(new DOMException('stolen', 'AbortError'));
    };
    const tab = browser.tab({ locks: { request: lost } as unknown as LockManager });
    const answer = tab.json('/a').catch((error: unknown) => error);
    await pass(400);
    expect(await answer).toMatchObject({ body: { path: '/a' } });
    expect(server.count(REFRESH)).toBe(1);
  });
});

describe('what a tab says that is behind the times', () => {
  it('does not bring a session back', async () => {
    const [first] = await signedIn(1);
    await first?.signOut();
    browser.say({ type: 'session', access: server.good, remaining: 200_000 });
    await pass(10);
    expect(first?.snapshot.status).toBe('signed-out');
  });

  it('does not replace a token by an older one', async () => {
    const older = accessToken();
    await pass(5_000);
    const [first] = await signedIn(1);
    browser.say({ type: 'session', access: older, remaining: 200_000 });
    const answer = first?.json('/a');
    await pass(50);
    await expect(answer).resolves.toMatchObject({ body: { path: '/a' } });
    expect(server.count('/a')).toBe(1);
  });

  it('does not make a token live longer than it does', async () => {
    await signedIn(1);
    server.good = accessToken();
    browser.say({ type: 'session', access: server.good, remaining: 40_000 });
    await pass(25_000);
    expect(server.count(REFRESH)).toBe(2);
  });

  it('or does not make sense is not listened to', async () => {
    const [first] = await signedIn(1);
    for (const odd of [null, 'x', {}, { type: 'session' }, { type: 'session', access: 7, remaining: '1' }])
      browser.say(odd);
    await pass(10);
    expect(first?.snapshot).toMatchObject({ status: 'signed-in', sessionId: 's1' });
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

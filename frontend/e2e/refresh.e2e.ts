/// Access tokens that die: one refresh for all who need it, in a tab and across tabs.
import type { Browser, BrowserContext, Page } from 'playwright-core';
import { afterAll, afterEach, beforeAll, beforeEach, expect, it } from 'vitest';
import { Traffic, freshContext, launch, signIn, takeFaults } from './browser.ts';
import { Installation, PASSWORD } from './installation.ts';

const REFRESH = '/api/auth/refresh';
let installation: Installation;
let browser: Browser;
let context: BrowserContext;
let traffic: Traffic;

beforeAll(async () => {
  // A token is dated in whole seconds, so that it may end up to a second before its three are over. The default leeway,
  // 5 s, makes up for that: what is replaced in time is never refused.
  installation = await Installation.up({ PORTCULLIS_TOKEN__ACCESS_TTL: '3s' });
  browser = await launch();
  await installation.register('ada');
});

afterAll(async () => {
  await browser.close();
  await installation.stop();
});

beforeEach(async () => {
  context = await freshContext(browser, installation);
  traffic = new Traffic(context);
});

afterEach(async () => {
  await context.close();
  expect(takeFaults()).toEqual([]);
});

/** A tab with nothing but the client, whose clock stands still: it does not know when its token dies. */
async function clientAlone(): Promise<Page> {
  const page = await context.newPage();
  await page.clock.install();
  await page.goto('/client-alone.html');
  await page.evaluate(() => window.restored);
  await page.clock.pauseAt(new Date(Date.now() + 3_600_000));
  return page;
}

async function signInAlone(page: Page): Promise<void> {
  await page.evaluate(
    (password) => window.client.signIn('/api/auth/login', { username: 'ada', password }),
    PASSWORD,
  );
}

/** Waits until the server refuses the token that the tab sends. */
async function tokenIsDead(page: Page): Promise<void> {
  const sent = page.waitForRequest('**/home');
  await page.evaluate(() => window.client.json('/home'));
  const headers = await (await sent).allHeaders();
  const status = async () =>
    (await installation.fetch('/home', { headers: { Authorization: headers.authorization ?? '' } })).status;
  expect(await status()).toBe(200);
  await expect.poll(status, { timeout: 20_000 }).toBe(401);
  traffic.forget();
}

async function fiveAtOnce(page: Page): Promise<number> {
  return page.evaluate(async () => {
    const answers = await Promise.all(Array.from({ length: 5 }, () => window.client.json('/home')));
    return answers.length;
  });
}

it('five requests at once with a dead token bring one refresh, and all five succeed', async () => {
  const page = await clientAlone();
  await signInAlone(page);
  await tokenIsDead(page);
  expect(await fiveAtOnce(page)).toBe(5);
  await expect.poll(() => traffic.count('/home', 200)).toBe(5);
  expect(traffic.count('/home', 401)).toBe(5);
  expect(traffic.count(REFRESH)).toBe(1);
});

it('two tabs that refresh at once bring one refresh, and the other is given its token', async () => {
  const [first, second] = [await clientAlone(), await clientAlone()];
  await signInAlone(first);
  await second.waitForFunction(() => window.client.snapshot.status === 'signed-in');
  await tokenIsDead(first);
  let open: () => void = () => undefined;
  const gate = new Promise<void>((resolve) => (open = resolve));
  await context.route(`**${REFRESH}`, async (route) => {
    await gate;
    await route.continue();
  });
  const answers = Promise.all([fiveAtOnce(first), fiveAtOnce(second)]);
  // Both want to refresh by now; one of them may.
  await expect.poll(() => traffic.count('/home', 401)).toBe(10);
  open();
  expect(await answers).toEqual([5, 5]);
  await expect.poll(() => traffic.count('/home', 200)).toBe(10);
  expect(traffic.count(REFRESH)).toBe(1);
});

it('ten tabs that are opened at once share what the first is given', async () => {
  const first = await clientAlone();
  await signInAlone(first);
  await first.close();
  traffic.forget();
  let open: () => void = () => undefined;
  const gate = new Promise<void>((resolve) => (open = resolve));
  await context.route(`**${REFRESH}`, async (route) => {
    await gate;
    await route.continue();
  });
  const tabs = await Promise.all(Array.from({ length: 10 }, () => context.newPage()));
  await Promise.all(tabs.map((tab) => tab.goto('/client-alone.html')));
  const restored = Promise.all(tabs.map((tab) => tab.evaluate(() => window.restored)));
  open();
  await restored;
  const states = await Promise.all(tabs.map((tab) => tab.evaluate(() => window.client.snapshot.status)));
  expect(new Set(states)).toEqual(new Set(['signed-in']));
  expect(traffic.count(REFRESH)).toBe(1);
});

it('the app replaces its token before it dies, so that nothing is ever refused', async () => {
  const page = await signIn(context, 'ada');
  traffic.forget();
  await expect.poll(() => traffic.count(REFRESH, 200), { timeout: 15_000 }).toBeGreaterThanOrEqual(3);
  await page.getByRole('link', { name: 'Profile' }).first().click();
  await page.getByLabel('Username').waitFor();
  expect(traffic.count('/api/auth/me', 401) + traffic.count('/home', 401)).toBe(0);
});

it('the event stream ends with its token and is opened again', async () => {
  await signIn(context, 'ada');
  await expect
    .poll(() => traffic.count('/api/auth/events', 200), { timeout: 30_000 })
    .toBeGreaterThanOrEqual(2);
  expect(traffic.count('/api/auth/events', 401)).toBe(0);
});

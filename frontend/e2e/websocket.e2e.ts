/// A page's own WebSocket, through the gateway to a service.
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { Browser, BrowserContext, Page } from 'playwright-core';
import { afterAll, afterEach, beforeAll, beforeEach, expect, it } from 'vitest';
import { freshContext, launch, takeFaults } from './browser.ts';
import { Echo } from './echo.ts';
import { Installation, PASSWORD } from './installation.ts';

let directory: string;
let echo: Echo;
let installation: Installation;
let browser: Browser;
let context: BrowserContext;

beforeAll(async () => {
  echo = await Echo.start();
  directory = await mkdtemp(join(tmpdir(), 'portcullis-websocket-'));
  const config = join(directory, 'portcullis.toml');
  await writeFile(
    config,
    `[gateway.upstreams]\necho = { targets = ["${echo.url}"] }\n[[gateway.routes]]\npath = "/ws"\nupstream = "echo"\n`,
  );
  installation = await Installation.up({ PORTCULLIS_CONFIG: config });
  browser = await launch();
  await installation.register('ada');
});

afterAll(async () => {
  await browser.close();
  await installation.stop();
  await echo.stop();
  await rm(directory, { recursive: true, force: true });
});

beforeEach(async () => {
  context = await freshContext(browser, installation);
});

afterEach(async () => {
  await context.close();
  expect(takeFaults()).toEqual([]);
});

async function post<T>(path: string, body: object, access?: string): Promise<T> {
  const answer = await installation.fetch(path, {
    method: 'POST',
    headers: {
      'Content-Type': 'application/json',
      ...(access !== undefined && { Authorization: `Bearer ${access}` }),
    },
    body: JSON.stringify(body),
  });
  if (!answer.ok) throw new Error(`${path}: ${answer.status} ${await answer.text()}`);
  const text = await answer.text();
  return (text === '' ? undefined : JSON.parse(text)) as T;
}

interface Tokens {
  access: string;
  refresh: string;
}

function login(): Promise<Tokens> {
  return post('/api/auth/login', { username: 'ada', password: PASSWORD });
}

/** Opens a WebSocket in the page, as `window.socket`: the protocol that was chosen, or the code that it was closed with. */
function open(page: Page, protocols: string[]): Promise<string | number> {
  return page.evaluate(
    (offered) =>
      new Promise<string | number>((resolve) => {
        const socket = new WebSocket(`ws://${location.host}/ws`, offered);
        const ending = new Promise((end) => {
          socket.onclose = ({ code, reason, wasClean }) => {
            resolve(code);
            end({ code, reason, wasClean, at: Date.now() });
          };
        });
        Object.assign(window, { socket, ending });
        socket.onopen = () => resolve(socket.protocol);
      }),
    protocols,
  );
}

function closed(page: Page): Promise<{ code: number; reason: string; wasClean: boolean; at: number }> {
  return page.evaluate(() => (window as unknown as { ending: Promise<never> }).ending);
}

it('opens with a token among its protocols, which the service does not see there, and echoes a megabyte', async () => {
  const { access } = await login();
  const page = await context.newPage();
  await page.goto('/login');
  expect(await open(page, [`bearer.${access}`, 'chat', 'portcullis'])).toBe('chat');
  expect(await open(page, [`bearer.${access}`, 'portcullis'])).toBe('portcullis');
  const [first, second] = echo.openings;
  expect(first?.['sec-websocket-protocol']).toBe('chat');
  expect(second?.['sec-websocket-protocol']).toBeUndefined();
  expect(second?.authorization).toBe(`Bearer ${access}`);
  const same = await page.evaluate(
    () =>
      new Promise<boolean>((resolve) => {
        const { socket } = window as unknown as { socket: WebSocket };
        const text = 'ö'.repeat(500_000);
        socket.onmessage = ({ data }) => resolve(data === text);
        socket.send(text);
      }),
  );
  expect(same).toBe(true);
  await page.evaluate(() => (window as unknown as { socket: WebSocket }).socket.close(4000, 'enough'));
  expect(await closed(page)).toMatchObject({ code: 4000, reason: 'enough', wasClean: true });
  expect(echo.closes).toContain(4000);
});

it('does not open without a token, and not when nothing that it offered is chosen', async () => {
  const { access } = await login();
  const page = await context.newPage();
  await page.goto('/login');
  expect(await open(page, [])).toBe(1006);
  expect(await open(page, ['bearer.x', 'portcullis'])).toBe(1006);
  expect(await open(page, [`bearer.${access}`])).toBe(1006);
});

it('is closed with 4401 within 250 ms of signing out', async () => {
  const page = await context.newPage();
  await page.goto('/login');
  let fastest = Infinity;
  for (let round = 0; round < 3; round++) {
    const { access, refresh } = await login();
    expect(await open(page, [`bearer.${access}`, 'portcullis'])).toBe('portcullis');
    await post('/logout', { refresh_token: refresh }, access);
    const signedOut = Date.now();
    const { at, ...end } = await closed(page);
    expect(end).toEqual({ code: 4401, reason: 'session ended', wasClean: true });
    fastest = Math.min(fastest, at - signedOut);
  }
  console.log(`signed out to closed, best of 3: ${fastest} ms`);
  expect(fastest).toBeLessThan(250);
});

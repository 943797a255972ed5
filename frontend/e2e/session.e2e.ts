/// Getting in, staying in, getting out.
import type { Browser, BrowserContext, Page } from 'playwright-core';
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, it } from 'vitest';
import { atHome, fillLogin, freshContext, heading, launch, signIn, takeFaults } from './browser.ts';
import { Installation, PASSWORD } from './installation.ts';

let installation: Installation;
let browser: Browser;
let context: BrowserContext;

beforeAll(async () => {
  installation = await Installation.up();
  browser = await launch();
  await installation.register('ada');
});

afterAll(async () => {
  await browser.close();
  await installation.stop();
});

beforeEach(async () => {
  context = await freshContext(browser, installation);
});

afterEach(async () => {
  await context.close();
  expect(takeFaults()).toEqual([]);
});

/** Keeps every first heading that the page ever shows from now on, over reloads too. */
async function watchHeadings(page: Page): Promise<() => Promise<string[]>> {
  await page.addInitScript(() => {
    const seen: string[] = [];
    Object.assign(window, { seen });
    new MutationObserver(() => {
      const text = document.querySelector('h1')?.textContent;
      if (text !== undefined && seen.at(-1) !== text) seen.push(text);
    }).observe(document, { subtree: true, childList: true, characterData: true });
  });
  return () => page.evaluate(() => (window as unknown as { seen: string[] }).seen);
}

describe('registering', () => {
  it('leads in, and a reload stays in without a glimpse of the login page', async () => {
    const page = await context.newPage();
    const headings = await watchHeadings(page);
    await page.goto('/');
    await page.getByRole('navigation').getByRole('link', { name: 'Register' }).click();
    await heading(page, 'Make an account').waitFor();
    await page.getByLabel('Username').fill('grace');
    await page.getByLabel('Email').fill('grace@example.com');
    await page.getByLabel('Password', { exact: true }).fill(PASSWORD);
    await page.getByRole('button', { name: 'Make the account' }).click();
    await atHome(page);
    await heading(page, /, grace$/).waitFor();

    await page.reload();
    await atHome(page);
    await heading(page, /, grace$/).waitFor();
    expect((await headings()).filter((text) => !/^(Good|One moment)/.test(text))).toEqual([]);
  });

  it('says beside the fields what is wrong with them, here and at the server', async () => {
    const page = await context.newPage();
    await page.goto('/register');
    await page.getByLabel('Username').fill('ada');
    await page.getByLabel('Email').fill('ada');
    await page.getByRole('button', { name: 'Make the account' }).click();
    await page.getByText('This does not look like an email address.').waitFor();
    await page.getByText('A password has at least 8 characters.').waitFor();

    await page.getByLabel('Email').fill('ADA@example.com');
    await page.getByLabel('Password', { exact: true }).fill(PASSWORD);
    await page.getByRole('button', { name: 'Make the account' }).click();
    await page.getByText('user with this email already exists.').waitFor();
    const email = page.getByLabel('Email');
    expect(await email.getAttribute('aria-invalid')).toBe('true');
    const described = (await email.getAttribute('aria-describedby')) ?? '';
    expect(await page.locator(`[id="${described.split(' ')[0]}"]`).textContent()).toContain('already exists');
  });
});

describe('signing in', () => {
  it('with a wrong password says so and leads nowhere', async () => {
    const page = await context.newPage();
    await page.goto('/login');
    await fillLogin(page, 'ada', 'wrong password');
    await page.getByRole('alert').filter({ hasText: 'No active account' }).waitFor();
    expect(new URL(page.url()).pathname).toBe('/login');
    expect(await page.getByLabel('Email or username').inputValue()).toBe('ada');
    await fillLogin(page, 'ada@example.com');
    await atHome(page);
  });

  it('leads back to the protected page that was asked for', async () => {
    const page = await context.newPage();
    await page.goto('/sessions?from=mail#list');
    await heading(page, 'Sign in').waitFor();
    await fillLogin(page, 'ada');
    await heading(page, 'Devices').waitFor();
    const { pathname, search, hash } = new URL(page.url());
    expect(pathname + search + hash).toBe('/sessions?from=mail#list');
  });

  it.each(['//evil.example', 'https://evil.example/', '/\\evil.example', '/login'])(
    'never leads to %s',
    async (next) => {
      const page = await context.newPage();
      await page.goto(`/login?next=${encodeURIComponent(next)}`);
      await fillLogin(page, 'ada');
      await atHome(page);
      expect(page.url()).toBe(`${installation.url}/`);
    },
  );

  it('in one tab signs in the other', async () => {
    const other = await context.newPage();
    await other.goto('/profile');
    await heading(other, 'Sign in').waitFor();
    await signIn(context, 'ada');
    await heading(other, 'Profile').waitFor();
  });

  it('works with the keyboard alone', async () => {
    const page = await context.newPage();
    await page.goto('/login');
    await heading(page, 'Sign in').waitFor();
    await page.getByLabel('Email or username').focus();
    await page.keyboard.type('ada');
    await page.keyboard.press('Tab');
    await page.keyboard.type(PASSWORD);
    await page.keyboard.press('Enter');
    await atHome(page);
  });
});

describe('signing out', () => {
  it('leads to the login page, and nothing protected is shown after it', async () => {
    const page = await signIn(context, 'ada');
    await page.getByRole('button', { name: 'Sign out' }).click();
    await page.getByText('You are signed out.').waitFor();
    expect(page.url()).toBe(`${installation.url}/login`);
    await page.goto('/profile');
    await heading(page, 'Sign in').waitFor();
    expect(await page.getByText('ada@example.com').count()).toBe(0);
    expect(await context.cookies()).toEqual([]);
  });

  it('in one tab signs out all', async () => {
    const [first, second, third] = [
      await signIn(context, 'ada'),
      await context.newPage(),
      await context.newPage(),
    ];
    await second.goto('/profile');
    await heading(second, 'Profile').waitFor();
    await third.goto('/sessions');
    await heading(third, 'Devices').waitFor();
    await first.getByRole('button', { name: 'Sign out' }).click();
    for (const page of [first, second, third]) await page.getByText('You are signed out.').waitFor();
  });

  it('while the server is away says so, and is still signed in', async () => {
    const page = await signIn(context, 'ada');
    await context.route('**/api/auth/logout', (route) => route.abort());
    await page.getByRole('button', { name: 'Sign out' }).click();
    await page.getByText('You are still signed in: signing out did not work.').waitFor();
    await context.unroute('**/api/auth/logout');
    await page.getByRole('button', { name: 'Sign out' }).click();
    await page.getByText('You are signed out.').waitFor();
  });
});

describe('a session that is ended from elsewhere', () => {
  it('ends on the page within two seconds', async () => {
    const page = await signIn(context, 'ada');
    const elsewhere = await freshContext(browser, installation, {
      userAgent: 'Mozilla/5.0 (iPhone) Safari/604.1',
    });
    const phone = await signIn(elsewhere, 'ada');
    await phone.goto('/sessions');
    const answered = phone.waitForResponse((response) => response.request().method() === 'DELETE');
    await phone.getByRole('button', { name: /^Sign out the/ }).click();
    expect((await answered).status()).toBe(204);
    await page.getByText('Your session has been ended.').waitFor({ timeout: 2_000 });
    await phone.getByText('All your other devices are signed out.').waitFor();
    await phone.getByText('You are signed in nowhere else.').waitFor();
    await elsewhere.close();
  });

  it('because the account was deactivated says that', async () => {
    await installation.register('mallory');
    await installation.createSuperuser('root');
    const page = await signIn(context, 'mallory');
    const elsewhere = await freshContext(browser, installation);
    const admin = await signIn(elsewhere, 'root');
    await admin.getByRole('link', { name: 'Users' }).first().click();
    await admin.getByRole('button', { name: 'Manage mallory' }).click();
    await admin.getByRole('checkbox', { name: 'Active' }).uncheck();
    const answered = admin.waitForResponse((response) => response.request().method() === 'PATCH');
    await admin.getByRole('button', { name: 'Save' }).click();
    expect((await answered).status()).toBe(200);
    await page.getByText('Your account is not active any more.').waitFor({ timeout: 2_000 });
    await admin
      .getByRole('row', { name: /mallory/ })
      .getByText('Deactivated')
      .waitFor();
    await fillLogin(page, 'mallory');
    await page.getByRole('alert').filter({ hasText: 'No active account' }).waitFor();
    await elsewhere.close();
  });
});

describe('tokens', () => {
  it('cannot be read by a script, wherever it looks', async () => {
    const bodies: Promise<string>[] = [];
    context.on('response', (response) => {
      if (!response.url().endsWith('/events')) bodies.push(response.text().catch(() => ''));
    });
    const page = await signIn(context, 'ada');
    await page.reload();
    await atHome(page);
    await page.getByRole('radio', { name: 'Dark' }).check({ force: true });
    const readable = await page.evaluate(async () => {
      const databases = await indexedDB.databases();
      const caches = await window.caches.keys();
      const stored = [localStorage, sessionStorage].map((storage) => JSON.stringify(storage));
      return { cookie: document.cookie, databases: databases.length, caches: caches.length, stored };
    });
    expect(readable).toEqual({
      cookie: '',
      databases: 0,
      caches: 0,
      stored: ['{"portcullis:theme":"dark"}', '{}'],
    });

    const cookies = await context.cookies();
    expect(cookies).toHaveLength(1);
    expect(cookies[0]).toMatchObject({
      name: '__Host-portcullis-refresh',
      httpOnly: true,
      secure: true,
      sameSite: 'Strict',
      path: '/',
    });
    expect((await Promise.all(bodies)).filter((body) => body.includes('pcr_'))).toEqual([]);
  });
});

/// What each page is for, done once from end to end.
import type { Browser, BrowserContext, Page } from 'playwright-core';
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, it } from 'vitest';
import { Traffic, atHome, fillLogin, freshContext, heading, launch, signIn, takeFaults } from './browser.ts';
import { Installation, PASSWORD } from './installation.ts';
import { login, populate } from './people.ts';

const IPHONE =
  'Mozilla/5.0 (iPhone; CPU iPhone OS 18_1 like Mac OS X) AppleWebKit/605.1.15 (KHTML, like Gecko) Version/18.1 Safari/604.1';
let installation: Installation;
let browser: Browser;
let context: BrowserContext;

beforeAll(async () => {
  installation = await Installation.up();
  browser = await launch();
  await populate(installation);
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

async function open(page: Page, name: string): Promise<void> {
  await page.getByRole('navigation').getByRole('link', { name, exact: true }).click();
  await heading(page, name).waitFor();
}

describe('the navigation', () => {
  it('shows what is for whoever is signed in', async () => {
    const entries = (page: Page) =>
      page.getByRole('navigation', { name: 'Main' }).getByRole('link').allTextContents();
    const page = await context.newPage();
    await page.goto('/login');
    await heading(page, 'Sign in').waitFor();
    expect(await entries(page)).toEqual(['Sign in', 'Register']);
    await fillLogin(page, 'grace');
    await heading(page, /, grace$/).waitFor();
    expect(await entries(page)).toEqual(['Home', 'Profile', 'Devices']);
    await page.goto('/users');
    await page.getByText('This page is for superusers.').waitFor();
    await page.getByRole('button', { name: 'Sign out' }).click();
    await fillLogin(page, 'ada');
    await page.getByRole('link', { name: 'Users', exact: true }).waitFor();
    expect(await entries(page)).toEqual(['Home', 'Profile', 'Devices', 'Users']);
    await heading(page, /, ada$/).waitFor();
  });

  it('moves the focus to the title of the page, and names it', async () => {
    const page = await signIn(context, 'grace');
    await open(page, 'Devices');
    expect(await page.evaluate(() => document.activeElement?.textContent)).toBe('Devices');
    expect(await page.title()).toBe('Devices · Portcullis');
    await page.keyboard.press('Shift+Tab');
    expect(await page.evaluate(() => document.activeElement?.textContent)).toBe('Sign out');
  });

  it('can be skipped', async () => {
    const page = await signIn(context, 'grace');
    await page.reload();
    await atHome(page);
    await page.keyboard.press('Tab');
    expect(await page.evaluate(() => document.activeElement?.textContent)).toBe('Skip to the content');
    await page.keyboard.press('Enter');
    expect(await page.evaluate(() => document.activeElement?.id)).toBe('main');
  });

  it('leads nowhere from an address that does not exist, signed in or not', async () => {
    const page = await context.newPage();
    await page.goto('/no/such/page');
    await heading(page, 'There is no way through here').waitFor();
    await page.getByRole('link', { name: 'Go home' }).click();
    await heading(page, 'Sign in').waitFor();
  });
});

describe('the profile', () => {
  it('is edited; another email needs the password', async () => {
    await installation.register('hopper');
    const page = await signIn(context, 'hopper');
    await open(page, 'Profile');
    await page.getByLabel('Username').fill('Hopper');
    await page.getByRole('button', { name: 'Save changes' }).click();
    await page.getByText('Your account has been changed.').waitFor();

    await page.getByLabel('Email').fill('ada@example.com');
    await page.getByRole('button', { name: 'Save changes' }).click();
    await page.getByText('Enter your password to change your email.').waitFor();
    await page.getByLabel('Your password', { exact: true }).fill('wrong password');
    await page.getByRole('button', { name: 'Save changes' }).click();
    await page.getByText('The password is not right.').waitFor();
    await page.getByLabel('Your password', { exact: true }).fill(PASSWORD);
    await page.getByRole('button', { name: 'Save changes' }).click();
    await page.getByText('user with this email already exists.').waitFor();
    await page.getByLabel('Email').fill('navy@example.com');
    const answered = page.waitForResponse((response) => response.request().method() === 'PATCH');
    await page.getByRole('button', { name: 'Save changes' }).click();
    expect((await answered).status()).toBe(200);
    await page.getByRole('navigation').getByRole('link', { name: 'Home' }).click();
    await heading(page, /, Hopper$/).waitFor();
    await page.getByText('navy@example.com').waitFor();
  });

  it('changes the password, which signs out the other devices and not this one', async () => {
    await installation.register('lamport');
    const elsewhere = await freshContext(browser, installation);
    const other = await signIn(elsewhere, 'lamport');
    const page = await signIn(context, 'lamport');
    await open(page, 'Profile');
    await page.getByLabel('Current password', { exact: true }).fill('wrong password');
    await page.getByLabel('New password', { exact: true }).fill('battery staple');
    await page.getByRole('button', { name: 'Change the password' }).click();
    await page.getByText('The password is not right.').waitFor();
    await page.getByLabel('Current password', { exact: true }).fill(PASSWORD);
    await page.getByRole('button', { name: 'Change the password' }).click();
    await page.getByText('Your password has been changed.').waitFor();
    await other.getByText('Your session has been ended.').waitFor();
    await fillLogin(other, 'lamport');
    await other.getByRole('alert').filter({ hasText: 'No active account' }).waitFor();
    await fillLogin(other, 'lamport', 'battery staple');
    await atHome(other);
    await page.reload();
    await heading(page, 'Profile').waitFor();
    await elsewhere.close();
  });

  it('deletes the account after asking for the password', async () => {
    await installation.register('gone');
    const page = await signIn(context, 'gone');
    const second = await context.newPage();
    await second.goto('/sessions');
    await second.getByText('This device').waitFor();
    await page.bringToFront();
    await open(page, 'Profile');
    await page.getByRole('button', { name: 'Delete my account…' }).click();
    const dialog = page.getByRole('dialog', { name: 'Delete your account?' });
    await dialog.getByLabel('Your password', { exact: true }).fill('wrong password');
    await dialog.getByRole('button', { name: 'Delete my account' }).click();
    await dialog.getByText('The password is not right.').waitFor();
    await page.keyboard.press('Escape');
    await dialog.waitFor({ state: 'detached' });
    await page.getByRole('button', { name: 'Delete my account…' }).click();
    await dialog.getByLabel('Your password', { exact: true }).fill(PASSWORD);
    await dialog.getByRole('button', { name: 'Delete my account' }).click();
    for (const tab of [page, second]) await tab.getByText('Your account has been deleted.').waitFor();
    await fillLogin(page, 'gone');
    await page.getByRole('alert').filter({ hasText: 'No active account' }).waitFor();
  });
});

describe('the devices', () => {
  it('are named in plain words, and one of them is signed out', async () => {
    await installation.register('perlman');
    const { access } = await login(installation, 'perlman', PASSWORD, IPHONE);
    const page = await signIn(context, 'perlman');
    await open(page, 'Devices');
    await page.getByText('Safari on iPhone').waitFor();
    // This one, the phone, and the registration's.
    expect(await page.getByRole('listitem').count()).toBe(3);
    await page.getByRole('button', { name: 'Sign out Safari on iPhone' }).click();
    await page.getByText('Safari on iPhone is signed out.').waitFor();
    // The button that was pressed is gone; whoever works with the keyboard is not lost.
    expect(await page.evaluate(() => document.activeElement?.tagName)).toBe('H1');
    await page.getByRole('button', { name: 'Sign out the other device' }).waitFor();
    expect(await page.getByRole('listitem').count()).toBe(2);
    const refused = await installation.fetch('/home', { headers: { Authorization: `Bearer ${access}` } });
    expect(refused.status).toBe(401);
  });

  it('include this one, which can be signed out too', async () => {
    const page = await signIn(context, 'linus');
    await open(page, 'Devices');
    const current = page.getByRole('listitem').filter({ hasText: 'This device' });
    await current.getByRole('button').click();
    await page.getByText('You are signed out.').waitFor();
  });
});

describe('the users', () => {
  it('are searched, ordered and turned over page by page', async () => {
    const page = await signIn(context, 'ada');
    await open(page, 'Users');
    const names = () => page.getByRole('rowheader').locator('span:first-child').allTextContents();
    await page.getByLabel('Order').selectOption({ label: 'Username, A to Z' });
    await expect.poll(async () => (await names())[0]?.toLowerCase()).toBe('ada');
    expect(await names()).toHaveLength(20);
    await page.getByRole('button', { name: 'Next' }).click();
    await page.getByText('Page 2').waitFor();
    await expect.poll(async () => (await names()).includes('whitfield')).toBe(true);
    await page.getByRole('button', { name: 'Previous' }).click();
    await expect.poll(async () => (await names())[0]?.toLowerCase()).toBe('ada');

    await page.getByLabel('Search').pressSequentially('RA');
    await expect.poll(names).toEqual(['barbara', 'frances', 'grace', 'radia']);
    expect(await page.evaluate(() => document.activeElement?.getAttribute('type'))).toBe('search');
    expect(new URL(page.url()).searchParams.get('search')).toBe('RA');
    await page.reload();
    await expect.poll(names).toEqual(['barbara', 'frances', 'grace', 'radia']);
    await page.getByLabel('Search').fill('nobody of this name');
    await page.getByText('Nobody has “nobody of this name”').waitFor();
  });

  it('are given roles, and deleted', async () => {
    await installation.register('temporary');
    const page = await signIn(context, 'ada');
    const traffic = new Traffic(context);
    await page.goto('/users?search=temporary');
    await page.getByRole('button', { name: 'Manage temporary' }).click();
    const dialog = page.getByRole('dialog', { name: 'temporary' });
    await dialog.getByRole('checkbox', { name: 'Staff' }).check();
    await dialog.getByLabel('Other roles').fill('editor, billing');
    await dialog.getByRole('button', { name: 'Save' }).click();
    await page.getByText('temporary has been changed.').waitFor();
    const row = page.getByRole('row', { name: /temporary/ });
    for (const role of ['Staff', 'editor', 'billing']) await row.getByText(role, { exact: true }).waitFor();

    await page.getByRole('button', { name: 'Manage temporary' }).click();
    await dialog.getByRole('button', { name: 'Delete…' }).click();
    const question = page.getByRole('dialog', { name: 'Delete temporary?' });
    expect(traffic.count('/api/admin/users')).toBe(0);
    await question.getByRole('button', { name: 'Delete the account' }).click();
    await page.getByText('temporary has been deleted.').waitFor();
    await page.getByText('Nobody has “temporary”').waitFor();
  });

  it('do not include oneself among those who can be deactivated', async () => {
    const page = await signIn(context, 'ada');
    await page.goto('/users?search=ada');
    await page.getByRole('button', { name: 'Manage ada' }).click();
    const dialog = page.getByRole('dialog', { name: 'ada' });
    expect(await dialog.getByRole('checkbox', { name: 'Active' }).getAttribute('aria-disabled')).toBe('true');
    await dialog.getByRole('checkbox', { name: 'Active' }).focus();
    await page.keyboard.press('Space');
    expect(await dialog.getByRole('checkbox', { name: 'Active' }).isChecked()).toBe(true);
    expect(await dialog.getByRole('button', { name: 'Delete…' }).count()).toBe(0);
  });
});

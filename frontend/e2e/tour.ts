/// Every page of the app in every state worth looking at, in the order of a visit.
import type { BrowserContext, Page } from 'playwright-core';
import { atHome, fillLogin, heading } from './browser.ts';
import { PASSWORD, type Installation } from './installation.ts';
import { login } from './people.ts';

export interface Stop {
  readonly name: string;
  readonly go: (page: Page) => Promise<void>;
}

const IPHONE =
  'Mozilla/5.0 (iPhone; CPU iPhone OS 18_1 like Mac OS X) AppleWebKit/605.1.15 (KHTML, like Gecko) Version/18.1 Safari/604.1';
const WINDOWS = 'Mozilla/5.0 (Windows NT 10.0; Win64; x64; rv:145.0) Gecko/20100101 Firefox/145.0';

/** Needs an installation that `populate` has been called for. */
export function tour(installation: Installation): Stop[] {
  return [
    {
      name: 'login',
      go: async (page) => {
        await page.goto('/login');
        await heading(page, 'Sign in').waitFor();
      },
    },
    {
      name: 'login-refused',
      go: async (page) => {
        await fillLogin(page, 'ada', 'wrong password');
        await page.getByRole('alert').filter({ hasText: 'No active account' }).waitFor();
      },
    },
    {
      name: 'register',
      go: async (page) => {
        await page.goto('/register');
        await heading(page, 'Make an account').waitFor();
      },
    },
    {
      name: 'register-refused',
      go: async (page) => {
        await page.getByLabel('Username').fill('ada');
        await page.getByLabel('Email').fill('ada@example.com');
        await page.getByLabel('Password', { exact: true }).fill(PASSWORD);
        await page.getByRole('button', { name: 'Make the account' }).click();
        await page.getByText('user with this email already exists.').waitFor();
      },
    },
    {
      name: 'not-found',
      go: async (page) => {
        await page.goto('/no/such/page');
        await heading(page, 'There is no way through here').waitFor();
      },
    },
    {
      name: 'home',
      go: async (page) => {
        await page.goto('/login');
        await fillLogin(page, 'ada');
        await atHome(page);
        await heading(page, /, ada$/).waitFor();
      },
    },
    {
      name: 'profile',
      go: async (page) => {
        await page.goto('/profile');
        await page.getByLabel('Username').waitFor();
      },
    },
    {
      name: 'profile-delete',
      go: async (page) => {
        await page.getByRole('button', { name: 'Delete my account…' }).click();
        await page.getByRole('dialog').waitFor();
      },
    },
    {
      name: 'devices',
      go: async (page) => {
        const { access } = await login(installation, 'ada', PASSWORD, IPHONE);
        const headers = { Authorization: `Bearer ${access}` };
        await installation.fetch('/api/auth/sessions', { method: 'DELETE', headers });
        await page.goto('/login');
        await fillLogin(page, 'ada');
        await atHome(page);
        await login(installation, 'ada', PASSWORD, WINDOWS);
        await login(installation, 'ada');
        await page.goto('/sessions');
        await page.getByText('Safari on iPhone').waitFor();
      },
    },
    {
      name: 'devices-ended',
      go: async (page) => {
        await page.getByRole('button', { name: 'Sign out curl' }).click();
        await page.getByText('curl is signed out.').waitFor();
        await page.getByText('Sign out the 2 other devices').waitFor();
      },
    },
    {
      name: 'users',
      go: async (page) => {
        await page.goto('/users');
        await page.getByRole('row', { name: /dennis/ }).waitFor();
      },
    },
    {
      name: 'users-none',
      go: async (page) => {
        await page.goto('/users?search=nobody');
        await page.getByText('Nobody has').waitFor();
      },
    },
    {
      name: 'user',
      go: async (page) => {
        await page.goto('/users?search=radia');
        await page.getByRole('button', { name: 'Manage radia' }).click();
        await page.getByRole('dialog').waitFor();
      },
    },
    {
      name: 'user-delete',
      go: async (page) => {
        await page.getByRole('button', { name: 'Delete…' }).click();
        await page.getByRole('dialog', { name: 'Delete radia?' }).waitFor();
      },
    },
    {
      name: 'loading',
      go: async (page) => {
        await page.route('**/api/user?*', () => undefined);
        await page.goto('/users');
        await page.getByText('Loading users').waitFor();
      },
    },
    {
      name: 'unavailable',
      go: async (page) => {
        await page.unroute('**/api/user?*');
        await unavailable(page.context());
        await page.goto('/sessions');
        await page.getByText('This is not available at the moment.').waitFor();
      },
    },
    {
      name: 'outage',
      go: async (page) => {
        await page.context().unroute('**/api/auth/sessions');
        await page.context().route('**/api/auth/refresh', (route) => route.abort());
        await page.reload();
        await heading(page, 'The gate cannot be reached').waitFor();
      },
    },
    {
      name: 'ended',
      go: async (page) => {
        await page.context().unroute('**/api/auth/refresh');
        await page.goto('/profile');
        await page.getByLabel('Username').waitFor();
        const { access } = await login(installation, 'ada');
        const headers = { Authorization: `Bearer ${access}` };
        await installation.fetch('/api/auth/sessions', { method: 'DELETE', headers });
        await page.getByText('Your session has been ended.').waitFor();
      },
    },
  ];
}

async function unavailable(context: BrowserContext): Promise<void> {
  const detail = 'The service behind this path cannot be connected to.';
  const body = JSON.stringify({ status: 503, code: 'upstream_unavailable', detail });
  await context.route('**/api/auth/sessions', (route) =>
    route.fulfill({ status: 503, contentType: 'application/json', headers: { 'Retry-After': '60' }, body }),
  );
}

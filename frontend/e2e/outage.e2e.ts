/// The token service goes away and comes back: nobody is signed out by that.
import type { Browser } from 'playwright-core';
import { afterAll, beforeAll, expect, it } from 'vitest';
import { atHome, freshContext, heading, launch, signIn, takeFaults } from './browser.ts';
import { Installation } from './installation.ts';

let installation: Installation;
let browser: Browser;

beforeAll(async () => {
  installation = await Installation.roles({
    PORTCULLIS_TOKEN__MAX_STALENESS: '2s',
    PORTCULLIS_TOKEN__ACCESS_TTL: '10s',
  });
  browser = await launch();
  await installation.register('ada');
});

afterAll(async () => {
  await browser.close();
  await installation.stop();
});

it('the app says what is wrong, signs nobody out, and recovers by itself', async () => {
  const context = await freshContext(browser, installation);
  const page = await signIn(context, 'ada');
  const other = await context.newPage();
  await other.goto('/sessions');
  await other.getByText('This device').waitFor();

  await installation.stopToken();

  // What needs the token service says so.
  await other.getByRole('button', { name: 'Sign out Headless Chrome on Linux' }).click();
  await other.getByRole('status').filter({ hasText: 'Dismiss' }).waitFor();
  await other.getByText('This device').waitFor();
  expect(new URL(other.url()).pathname).toBe('/sessions');

  // The token cannot be refreshed.
  await page.getByText('You are still signed in, but the server cannot be reached at the moment.').waitFor();
  // What is loaded anew is not there, and says so.
  await page.getByRole('link', { name: 'Devices' }).first().click();
  await heading(page, 'Devices').waitFor();
  await page.getByText('This is not available at the moment.').waitFor();

  // A reload in the middle of it shows neither the login page nor anything else that is not so.
  await page.reload();
  await heading(page, 'The gate cannot be reached').waitFor();

  await installation.startToken();

  await page.getByText('This device').waitFor({ timeout: 45_000 });
  await page.getByRole('link', { name: 'Home' }).first().click();
  await atHome(page);
  await other.getByText('You are still signed in, but').waitFor({ state: 'detached', timeout: 45_000 });
  await context.close();
  expect(takeFaults()).toEqual([]);
});

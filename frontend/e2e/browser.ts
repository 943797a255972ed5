/// Chromium, and people in it.
import {
  chromium,
  type Browser,
  type BrowserContext,
  type BrowserContextOptions,
  type Page,
} from 'playwright-core';
import { PASSWORD, type Installation } from './installation.ts';

const ARGUMENTS = [
  '--headless',
  '--no-sandbox',
  '--disable-gpu',
  '--disable-quic',
  '--no-first-run',
  '--disable-background-networking',
  '--disable-component-update',
  '--disable-sync',
];

export async function launch(): Promise<Browser> {
  const executablePath = process.env.PORTCULLIS_CHROMIUM ?? '/usr/bin/chromium';
  return chromium.launch({ executablePath, args: ARGUMENTS });
}

/** A browser of its own: nothing is shared with other contexts. What a page throws or is refused by its policy fails. */
export async function freshContext(
  browser: Browser,
  installation: Installation,
  options: BrowserContextOptions = {},
): Promise<BrowserContext> {
  const context = await browser.newContext({ baseURL: installation.url, locale: 'en-US', ...options });
  context.setDefaultTimeout(20_000);
  context.on('weberror', (error) => faults.push(String(error.error())));
  context.on('console', (message) => {
    if (/Content Security Policy|Warning:/.test(message.text())) faults.push(message.text());
  });
  return context;
}

/** What went wrong in any page since the last look. */
const faults: string[] = [];
export function takeFaults(): string[] {
  return faults.splice(0);
}

export function heading(page: Page, name: string | RegExp) {
  return page.getByRole('heading', { level: 1, name });
}

/** Fills in the form of the login page that is shown. */
export async function fillLogin(page: Page, login: string, password = PASSWORD): Promise<void> {
  await page.getByLabel('Email or username').fill(login);
  await page.getByLabel('Password', { exact: true }).fill(password);
  await page.getByRole('button', { name: 'Sign in' }).click();
}

/** A tab in which somebody has signed in and is at home. */
export async function signIn(context: BrowserContext, login: string, password = PASSWORD): Promise<Page> {
  const page = await context.newPage();
  await page.goto('/login');
  await fillLogin(page, login, password);
  await atHome(page);
  return page;
}

export async function atHome(page: Page): Promise<void> {
  const message = page.getByText('Welcome! Your access token is good');
  await message.waitFor().catch(async (cause: unknown) => {
    const shown = await page.locator('body').innerText();
    throw new Error(`not at home but at ${page.url()}, which says:\n${shown}`, { cause });
  });
}

/** Counts the answers of a context by method, path and status. */
export class Traffic {
  readonly #seen: { method: string; path: string; status: number }[] = [];

  constructor(context: BrowserContext) {
    context.on('response', (response) => {
      const method = response.request().method();
      this.#seen.push({ method, path: new URL(response.url()).pathname, status: response.status() });
    });
  }

  count(path: string, status?: number): number {
    return this.#seen.filter((one) => one.path === path && (status === undefined || one.status === status))
      .length;
  }

  forget(): void {
    this.#seen.length = 0;
  }
}

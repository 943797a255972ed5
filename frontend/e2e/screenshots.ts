/// Takes pictures of every page, for people to look at: desktop and phone, light and dark.
import { mkdir } from 'node:fs/promises';
import { join } from 'node:path';
import { afterAll, beforeAll, it } from 'vitest';
import type { Browser } from 'playwright-core';
import { freshContext, launch } from './browser.ts';
import { Installation } from './installation.ts';
import { populate } from './people.ts';
import { tour } from './tour.ts';

const DIRECTORY = process.env.SCREENSHOTS ?? 'screenshots';
const SIZES = { desktop: { width: 1280, height: 800 }, phone: { width: 390, height: 844 } };
const AGENT =
  'Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/142.0.0.0 Safari/537.36';
let installation: Installation;
let browser: Browser;

beforeAll(async () => {
  installation = await Installation.up();
  browser = await launch();
  await populate(installation);
  await mkdir(DIRECTORY, { recursive: true });
});

afterAll(async () => {
  await browser.close();
  await installation.stop();
});

for (const [device, viewport] of Object.entries(SIZES)) {
  for (const colorScheme of ['light', 'dark'] as const) {
    it(`${device}, ${colorScheme}`, async () => {
      const context = await freshContext(browser, installation, {
        viewport,
        colorScheme,
        userAgent: AGENT,
        deviceScaleFactor: device === 'phone' ? 2 : 1,
        reducedMotion: 'reduce',
      });
      const page = await context.newPage();
      for (const { name, go } of tour(installation)) {
        await go(page);
        await page.evaluate(() => document.fonts.ready);
        const path = join(DIRECTORY, `${name}-${device}-${colorScheme}.png`);
        // A dialog's backdrop covers what can be seen, not what can be scrolled to.
        const fullPage = (await page.getByRole('dialog').count()) === 0;
        await page.screenshot({ path, fullPage, animations: 'disabled' });
      }
      await context.close();
    });
  }
}

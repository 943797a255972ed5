/// axe finds nothing to complain about, on any page, light or dark, on a desk or in a hand.
import { readFile } from 'node:fs/promises';
import { createRequire } from 'node:module';
import type { AxeResults } from 'axe-core';
import type { Browser, Page } from 'playwright-core';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { freshContext, launch, takeFaults } from './browser.ts';
import { Installation } from './installation.ts';
import { populate } from './people.ts';
import { tour } from './tour.ts';

const SIZES = { desktop: { width: 1280, height: 800 }, phone: { width: 360, height: 740 } };
let installation: Installation;
let browser: Browser;
let axe: string;

beforeAll(async () => {
  axe = await readFile(createRequire(import.meta.url).resolve('axe-core/axe.min.js'), 'utf8');
  installation = await Installation.up();
  browser = await launch();
  await populate(installation);
});

afterAll(async () => {
  await browser.close();
  await installation.stop();
});

async function violations(page: Page): Promise<string[]> {
  // What appears is looked at when it has appeared.
  await page.evaluate(() => document.getAnimations().forEach((one) => one.finish()));
  await page.evaluate(axe);
  const results = await page.evaluate<AxeResults>('axe.run({ resultTypes: ["violations"] })');
  return results.violations.flatMap(({ id, nodes }) => nodes.map(({ html }) => `${id}: ${html}`));
}

describe.each(Object.entries(SIZES))('on a %s', (_, viewport) => {
  it.each(['light', 'dark'] as const)('every page that is %s', { timeout: 240_000 }, async (colorScheme) => {
    const context = await freshContext(browser, installation, {
      viewport,
      colorScheme,
      reducedMotion: 'reduce',
    });
    const page = await context.newPage();
    const found: Record<string, string[]> = {};
    for (const { name, go } of tour(installation)) {
      await go(page);
      const complaints = await violations(page);
      const tooWide = await page.evaluate(() => document.documentElement.scrollWidth > window.innerWidth);
      if (tooWide) complaints.push('it scrolls sideways');
      if (complaints.length > 0) found[name] = complaints;
    }
    await context.close();
    expect(found).toEqual({});
    expect(takeFaults()).toEqual([]);
  });
});

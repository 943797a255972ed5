/// Pictures of every page, into the directory that SCREENSHOTS names.
import { defineConfig } from 'vitest/config';

export default defineConfig({
  test: {
    include: ['e2e/screenshots.ts'],
    globalSetup: 'e2e/setup.ts',
    testTimeout: 240_000,
    hookTimeout: 120_000,
  },
});

/// The build of the web app, its development server, and its unit tests.
import tailwindcss from '@tailwindcss/vite';
import react from '@vitejs/plugin-react';
import { defineConfig } from 'vitest/config';
import { precompress } from './build/precompress.ts';

/** What belongs to the API; everything else is the app's. */
const API = ['/api', '/token', '/oauth', '/logout', '/home', '/.well-known'];
const GATEWAY = process.env.PORTCULLIS_URL ?? 'http://127.0.0.1:8000';

export default defineConfig({
  plugins: [react(), tailwindcss(), precompress()],
  build: {
    // Nothing as a data: URL, which the Content-Security-Policy would refuse.
    assetsInlineLimit: 0,
    target: 'es2023',
    cssTarget: ['chrome123', 'firefox120', 'safari17.5'],
  },
  server: { proxy: Object.fromEntries(API.map((path) => [path, GATEWAY])) },
  test: { include: ['src/**/*.test.ts'], environment: 'node' },
});

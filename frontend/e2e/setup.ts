/// Makes what the gateway serves in the tests: the built app, and beside it a page that has nothing but the client.
import { cp, mkdtemp, rm, stat, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join, resolve } from 'node:path';
import { build } from 'vite';
import type { TestProject } from 'vitest/node';

declare module 'vitest' {
  interface ProvidedContext {
    webRoot: string;
    binary: string;
  }
}

const HERE = import.meta.dirname;

export default async function setup(project: TestProject): Promise<() => Promise<void>> {
  const binary = process.env.PORTCULLIS_BIN;
  if (binary === undefined)
    throw new Error('PORTCULLIS_BIN must name the binary, e.g. ../target/debug/portcullis');
  await stat(binary);
  const dist = resolve(HERE, '../dist');
  await stat(join(dist, 'index.html')).catch(() => {
    throw new Error('The app is not built: npm run build');
  });

  const webRoot = await mkdtemp(join(tmpdir(), 'portcullis-web-'));
  await cp(dist, webRoot, { recursive: true });
  await build({
    configFile: false,
    logLevel: 'warn',
    build: {
      outDir: webRoot,
      emptyOutDir: false,
      lib: { entry: join(HERE, 'fixture/main.ts'), formats: ['es'], fileName: () => 'client-alone.js' },
    },
  });
  const page = '<!doctype html><title>Client</title><script type="module" src="/client-alone.js"></script>';
  await writeFile(join(webRoot, 'client-alone.html'), page);
  project.provide('webRoot', webRoot);
  project.provide('binary', resolve(binary));
  return () => rm(webRoot, { recursive: true, force: true });
}

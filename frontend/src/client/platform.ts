/// What the client takes from the browser, in one place, so that tests can give it something else.

/** What carries messages to the other tabs of this origin. */
export interface Channel {
  post(message: unknown): void;
  listen(listener: (message: unknown) => void): void;
  close(): void;
}

export interface Platform {
  readonly fetch: (input: string, init: RequestInit) => Promise<Response>;
  /** Milliseconds that only go forward. */
  readonly now: () => number;
  readonly random: () => number;
  /** Null in old browsers and outside secure contexts: then every tab is on its own. */
  readonly locks: Pick<LockManager, 'request'> | null;
  readonly openChannel: (name: string) => Channel | null;
  /** Calls back whenever the page may have slept: shown again, back online. Gives a function that ends it. */
  readonly onWake: (callback: () => void) => () => void;
}

/** The browser that this runs in. */
export function browser(): Platform {
  return {
    fetch: (input, init) => fetch(input, init),
    now: () => performance.now(),
    random: () => Math.random(),
    locks: (navigator as { locks?: LockManager }).locks ?? null,
    openChannel,
    onWake,
  };
}

function openChannel(name: string): Channel | null {
  if (typeof BroadcastChannel === 'undefined') return null;
  const channel = new BroadcastChannel(name);
  return {
    post: (message) => channel.postMessage(message),
    listen: (listener) => {
      channel.onmessage = (event) => listener(event.data);
    },
    close: () => channel.close(),
  };
}

function onWake(callback: () => void): () => void {
  const shown = () => {
    if (document.visibilityState === 'visible') callback();
  };
  const target = new AbortController();
  const { signal } = target;
  document.addEventListener('visibilitychange', shown, { signal });
  window.addEventListener('online', callback, { signal });
  window.addEventListener('pageshow', (event) => event.persisted && callback(), { signal });
  return () => target.abort();
}

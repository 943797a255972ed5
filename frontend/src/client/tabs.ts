/// The tabs of one browser: one at a time does a thing, and tells the others.
import type { Channel, Platform } from './platform.ts';
import { asRecord } from './errors.ts';

/** Why nobody is signed in. */
export type Ending =
  /** Nobody was. */
  | { readonly cause: 'none' }
  /** Somebody signed out in this browser, here or in another tab. */
  | { readonly cause: 'logout' }
  /** The app ended the session with a request, e.g. by deleting the account; `notice` is the app's own. */
  | { readonly cause: 'request'; readonly notice: string }
  /** The server ended it: from elsewhere, by an administrator, or because its time was over. */
  | { readonly cause: 'ended'; readonly code: string; readonly detail: string };

/** What tabs tell each other. It stays in memory: nothing of it is ever stored. */
export type Message =
  | { readonly type: 'session'; readonly access: string; readonly remaining: number }
  | { readonly type: 'signed-out'; readonly sessionId: string | null; readonly ending: Ending }
  /** Whoever has a token is to send it. */
  | { readonly type: 'ask' };

/** No lock is waited for longer than this: a tab that hangs must not hang the others. */
const LOCK_TIMEOUT = 20_000;

export class Tabs {
  readonly #platform: Platform;
  readonly #channel: Channel | null;
  readonly #name: string;

  constructor(platform: Platform, name: string, heard: (message: Message) => void) {
    this.#platform = platform;
    this.#name = name;
    this.#channel = platform.openChannel(name);
    this.#channel?.listen((message) => {
      const known = parse(message);
      if (known !== null) heard(known);
    });
  }

  /** Whether other tabs can be asked at all. */
  get canTalk(): boolean {
    return this.#channel !== null;
  }

  tell(message: Message): void {
    this.#channel?.post(message);
  }

  /**
   * Runs `task` while no other tab runs one. It is told whether it had to wait for another tab. Without Web Locks, where
   * the browser refuses them, and after a lock could not be had for 20 s, it runs all the same: the server takes
   * refreshes that cross each other. In no case does it run twice.
   */
  async exclusively<T>(task: (waited: boolean) => Promise<T>): Promise<T> {
    const { locks } = this.#platform;
    if (locks === null) return task(false);
    const name = `${this.#name}:refresh`;
    const begun: { run?: Promise<T> } = {};
    let waited = false;
    const patience = new AbortController();
    let timer: ReturnType<typeof setTimeout> | undefined;
    try {
      await locks.request(name, { ifAvailable: true }, (lock) =>
        lock === null ? null : (begun.run = task(false)),
      );
      if (begun.run === undefined) {
        waited = true;
        timer = setTimeout(() => patience.abort(), LOCK_TIMEOUT);
        await locks.request(name, { signal: patience.signal }, () => {
          clearTimeout(timer);
          return (begun.run = task(true));
        });
      }
    } catch {
      // No lock; or the failure of the task, which is told below.
    } finally {
      clearTimeout(timer);
    }
    return begun.run ?? task(waited);
  }

  /** Runs `task` in one tab of the browser at a time, until `signal` aborts; in every tab where no locks can be had. */
  async lead(signal: AbortSignal, task: () => Promise<void>): Promise<void> {
    const { locks } = this.#platform;
    if (locks === null || this.#channel === null) return task();
    const begun: { run?: Promise<void> } = {};
    await locks
      .request(`${this.#name}:events`, { signal }, () => (begun.run = task()))
      .catch(() => undefined);
    if (begun.run === undefined && !signal.aborted) await task();
    else await begun.run;
  }

  close(): void {
    this.#channel?.close();
  }
}

function parse(value: unknown): Message | null {
  const message = asRecord(value);
  switch (message.type) {
    case 'ask':
      return { type: 'ask' };
    case 'session':
      return typeof message.access === 'string' && typeof message.remaining === 'number'
        ? { type: 'session', access: message.access, remaining: message.remaining }
        : null;
    case 'signed-out': {
      const { sessionId } = message;
      return {
        type: 'signed-out',
        sessionId: typeof sessionId === 'string' ? sessionId : null,
        ending: parseEnding(asRecord(message.ending)),
      };
    }
    default:
      return null;
  }
}

function parseEnding(ending: Record<string, unknown>): Ending {
  const { cause, notice, code, detail } = ending;
  if (cause === 'none') return { cause };
  if (cause === 'request' && typeof notice === 'string') return { cause, notice };
  if (cause === 'ended' && typeof code === 'string' && typeof detail === 'string')
    return { cause, code, detail };
  return { cause: 'logout' };
}

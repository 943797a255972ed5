/// The session: its access token, which it keeps fresh, and its end, in this tab and in the others.
import { ApiError, SignedOutError } from './errors.ts';
import { backoff } from './backoff.ts';
import { follow } from './follower.ts';
import { granted, type Http } from './http.ts';
import type { Platform } from './platform.ts';
import { Tabs, type Ending, type Message } from './tabs.ts';
import { margin, readToken, type AccessToken } from './token.ts';

/** What stands in the way of refreshing; the session is as it was. The client tries again by itself. */
export interface Outage {
  readonly detail: string;
  /** In how many milliseconds it tries again. */
  readonly retryIn: number;
}

/** What the client knows; a new object for each change. */
export type Snapshot =
  /** The page was just loaded: whether there is a session is being asked. Show neither login nor content. */
  | { readonly status: 'restoring'; readonly outage: Outage | null }
  | { readonly status: 'signed-out'; readonly ending: Ending }
  | {
      readonly status: 'signed-in';
      readonly userId: string | null;
      readonly sessionId: string | null;
      readonly outage: Outage | null;
    };

/** How long the answer to a refresh may take. */
export const SESSION_TIMEOUT = 10_000;
/** How long to wait for another tab that has just refreshed to hand its token over. */
const HANDOVER = 300;
/** How many sessions that have ended are remembered, against tokens of theirs that arrive late. */
const REMEMBERED = 16;
/** However short a token lives, as one does that is made at the very end of a session, it is not replaced sooner. */
const SHORTEST_LIFE = 1_000;
/** What setTimeout takes. */
const LONGEST_TIMER = 2 ** 31 - 1;

export class Session {
  readonly tabs: Tabs;
  readonly #platform: Platform;
  readonly #http: Http;
  readonly #listeners = new Set<() => void>();
  readonly #endOnWake: () => void;
  #snapshot: Snapshot = { status: 'restoring', outage: null };
  #access: AccessToken | null = null;
  #refreshing: Promise<AccessToken> | null = null;
  #timer: ReturnType<typeof setTimeout> | undefined;
  #failures = 0;
  /** What the server has asked to be left alone with, and until when. */
  #quiet: { error: ApiError; until: number } | null = null;
  /** Called when a token came from another tab, or the end did. */
  #handovers = new Set<() => void>();
  #ended: string[] = [];
  /** How many requests that end the session are under way, and what was heard about it meanwhile. */
  #closing = 0;
  #heldBack: Ending | null = null;
  #following: { sessionId: string | null; stop: AbortController } | null = null;

  constructor(platform: Platform, http: Http, name: string) {
    this.#platform = platform;
    this.#http = http;
    this.tabs = new Tabs(platform, name, (message) => this.#heard(message));
    this.#endOnWake = platform.onWake(() => this.#woke());
  }

  get snapshot(): Snapshot {
    return this.#snapshot;
  }

  subscribe(listener: () => void): () => void {
    this.#listeners.add(listener);
    return () => this.#listeners.delete(listener);
  }

  /** The token that is held, good or not. */
  get held(): string | null {
    return this.#access?.raw ?? null;
  }

  /**
   * A token that is not `refused` and not known to be dead. One refresh serves all who wait for it; none is tried before
   * the time that the server has asked for (`Retry-After`).
   */
  async fresh(refused: string | null): Promise<string> {
    if (this.#snapshot.status === 'signed-out') throw new SignedOutError();
    const held = this.#access;
    if (held !== null && held.raw !== refused && this.#alive(held)) return held.raw;
    if (this.#quiet !== null && this.#quiet.until > this.#platform.now()) throw this.#quiet.error;
    return (await this.renew()).raw;
  }

  /** Refreshes now, unless that is under way. */
  renew(): Promise<AccessToken> {
    this.#refreshing ??= this.#refresh().finally(() => {
      this.#refreshing = null;
    });
    return this.#refreshing;
  }

  /** A login has brought this token. */
  open(access: string): void {
    this.#adopt(readToken(access, this.#platform.now()));
    this.#tellToken();
  }

  /** Runs a request that ends this session; when it succeeds, nobody is signed in, in any tab, because of `ending`. */
  async close<T>(ending: Ending, request: () => Promise<T>): Promise<T> {
    this.#closing += 1;
    try {
      const result = await request();
      this.#end(ending, true);
      return result;
    } finally {
      this.#closing -= 1;
      const held = this.#heldBack;
      if (this.#closing === 0 && held !== null) {
        this.#heldBack = null;
        this.#end(held, true);
      }
    }
  }

  /** News of the end. It may be this tab's own doing: then the reason is the app's, once its request has succeeded. */
  over(ending: Ending, tell: boolean): void {
    if (this.#closing > 0) this.#heldBack = ending;
    else this.#end(ending, tell);
  }

  dispose(): void {
    clearTimeout(this.#timer);
    this.#endOnWake();
    this.#following?.stop.abort();
    this.tabs.close();
    this.#listeners.clear();
  }

  #alive(token: AccessToken): boolean {
    return token.expires > this.#platform.now();
  }

  async #refresh(): Promise<AccessToken> {
    clearTimeout(this.#timer);
    const stale = this.#access;
    try {
      return await this.tabs.exclusively(async (waited) => {
        if (waited && this.tabs.canTalk) await this.#handover(stale);
        if (this.#snapshot.status === 'signed-out') throw new SignedOutError();
        return this.#newerThan(stale) ?? (await this.#fetchToken(stale));
      });
    } catch (error) {
      if (error instanceof ApiError) this.#postpone(error);
      throw error;
    }
  }

  #newerThan(stale: AccessToken | null): AccessToken | null {
    const held = this.#access;
    return held !== null && held.raw !== stale?.raw && this.#alive(held) ? held : null;
  }

  /** Another tab has just refreshed, or tried to: waits a moment for its token, or for the news that there is none. */
  async #handover(stale: AccessToken | null): Promise<void> {
    const settled = () => this.#snapshot.status === 'signed-out' || this.#newerThan(stale) !== null;
    if (settled()) return;
    this.tabs.tell({ type: 'ask' });
    await new Promise<void>((resolve) => {
      const done = () => {
        clearTimeout(timer);
        this.#handovers.delete(check);
        resolve();
      };
      const check = () => {
        if (settled()) done();
      };
      const timer = setTimeout(done, HANDOVER);
      this.#handovers.add(check);
    });
  }

  async #fetchToken(stale: AccessToken | null): Promise<AccessToken> {
    const response = await this.#http.aboutSession('/api/auth/refresh', {}, null, SESSION_TIMEOUT);
    if (response.status === 401) {
      // Without Web Locks another tab's login may have overtaken this.
      const newer = this.#newerThan(stale);
      if (newer !== null) return newer;
      const { code, detail } = await ApiError.from(response);
      // Without a cookie there is no session to have ended, unless we were in it.
      const none = code === 'not_authenticated' && this.#snapshot.status === 'restoring';
      this.#end(none ? { cause: 'none' } : { cause: 'ended', code, detail }, true);
      throw new SignedOutError();
    }
    if (!response.ok) throw await ApiError.from(response);
    const { access } = await granted(response);
    const token = readToken(access, this.#platform.now());
    // The news that the session is over may have overtaken this answer.
    if (this.#hasEnded(token.sessionId)) throw new SignedOutError();
    this.#adopt(token);
    this.#tellToken();
    return token;
  }

  #adopt(token: AccessToken, fromAnotherTab = false): void {
    this.#access = token;
    this.#failures = 0;
    this.#quiet = null;
    // A tab that was given its token waits a little longer than the one that fetched it, which will fetch the next.
    const early = margin(token) * (fromAnotherTab ? 0.6 + 0.2 * this.#platform.random() : 1);
    this.#plan(Math.max(token.expires - early - this.#platform.now(), SHORTEST_LIFE));
    const { userId, sessionId } = token;
    this.#show({ status: 'signed-in', userId, sessionId, outage: null });
    this.#listenToEvents(sessionId);
    this.#settleHandovers();
  }

  /** A refresh that failed says nothing about the session: it goes on, and so do the attempts. */
  #postpone(error: ApiError): void {
    if (this.#snapshot.status === 'signed-out') return;
    this.#failures += 1;
    const { retryAfter } = error;
    this.#quiet = retryAfter === null ? null : { error, until: this.#platform.now() + retryAfter };
    const retryIn = backoff(this.#failures, retryAfter, this.#platform.random);
    this.#plan(retryIn);
    this.#show({ ...this.#snapshot, outage: { detail: error.detail, retryIn } });
  }

  #plan(delay: number): void {
    clearTimeout(this.#timer);
    if (delay === Infinity) return;
    const planned = Math.min(delay, LONGEST_TIMER);
    this.#timer = setTimeout(() => this.#renewQuietly(), planned);
  }

  /** Timers stand still while a computer sleeps: whatever is due by now is done now. */
  #woke(): void {
    if (this.#snapshot.status === 'signed-out') return;
    const token = this.#access;
    const asked = this.#quiet !== null && this.#quiet.until > this.#platform.now();
    const due = token === null || token.expires - margin(token) <= this.#platform.now();
    if (!asked && (due || this.#snapshot.outage !== null)) this.#renewQuietly();
  }

  /** Its failures are in the snapshot. */
  #renewQuietly(): void {
    void this.renew().catch(() => undefined);
  }

  #end(ending: Ending, tell: boolean): void {
    if (this.#snapshot.status === 'signed-out') return;
    const sessionId = this.#access?.sessionId ?? null;
    this.#remember(sessionId);
    clearTimeout(this.#timer);
    this.#access = null;
    this.#failures = 0;
    this.#quiet = null;
    this.#following?.stop.abort();
    this.#following = null;
    if (tell) this.tabs.tell({ type: 'signed-out', sessionId, ending });
    this.#show({ status: 'signed-out', ending });
    this.#settleHandovers();
  }

  #remember(sessionId: string | null): void {
    if (sessionId !== null) this.#ended = [sessionId, ...this.#ended].slice(0, REMEMBERED);
  }

  #hasEnded(sessionId: string | null): boolean {
    return sessionId !== null && this.#ended.includes(sessionId);
  }

  #heard(message: Message): void {
    switch (message.type) {
      case 'ask': {
        this.#tellToken();
        return;
      }
      case 'session': {
        const token = readToken(message.access, this.#platform.now(), message.remaining);
        if (this.#hasEnded(token.sessionId) || this.#access?.raw === token.raw) return;
        if (this.#access !== null && this.#access.issued > token.issued) return;
        this.#adopt(token, true);
        return;
      }
      case 'signed-out': {
        this.#heardOfEnd(message.sessionId, message.ending);
        return;
      }
    }
  }

  #heardOfEnd(sessionId: string | null, ending: Ending): void {
    const now = this.#snapshot;
    if (now.status === 'signed-out') {
      // The tab whose doing it was knows the reason better than the server's event, which may come first.
      const better = now.ending.cause === 'ended' && ending.cause !== 'ended' && ending.cause !== 'none';
      if (better && sessionId === this.#ended[0]) this.#show({ ...now, ending });
      return;
    }
    const ours = this.#access?.sessionId ?? null;
    // That a tab found no session at its start, or the end of another one than ours, is not our end.
    if (ours !== null && sessionId !== ours) return;
    this.#remember(sessionId);
    this.over(ending, false);
  }

  #tellToken(): void {
    const token = this.#access;
    if (token === null || !this.#alive(token)) return;
    const remaining = token.expires - this.#platform.now();
    this.tabs.tell({ type: 'session', access: token.raw, remaining });
  }

  #settleHandovers(): void {
    for (const check of [...this.#handovers]) check();
  }

  #listenToEvents(sessionId: string | null): void {
    if (this.#following?.sessionId === sessionId) return;
    this.#following?.stop.abort();
    const stop = new AbortController();
    this.#following = { sessionId, stop };
    const task = () => follow(this, this.#http, this.#platform, stop.signal);
    void this.tabs.lead(stop.signal, task).catch(() => undefined);
  }

  #show(snapshot: Snapshot): void {
    if (JSON.stringify(this.#snapshot) === JSON.stringify(snapshot)) return;
    this.#snapshot = snapshot;
    for (const listener of [...this.#listeners]) listener();
  }
}

/// The client of Portcullis for a browser app: who is signed in, and requests that carry the token.
import { ApiError } from './errors.ts';
import { authorized } from './authorized.ts';
import { Http, granted, unreadable, type RequestOptions } from './http.ts';
import { browser, type Platform } from './platform.ts';
import { SESSION_TIMEOUT, Session, type Snapshot } from './session.ts';
import type { Ending } from './tabs.ts';

export interface ClientOptions {
  /** Where the gateway is; default: the page's own origin. */
  baseUrl?: string;
  /** Tells apart the locks and channels of different apps on one origin. */
  name?: string;
  platform?: Platform;
}

/** How long a login may take: the server works hard on it, on purpose. */
const LOGIN_TIMEOUT = 30_000;

export class PortcullisClient {
  readonly #http: Http;
  readonly #session: Session;

  constructor(options: ClientOptions = {}) {
    const platform = options.platform ?? browser();
    this.#http = new Http(platform, options.baseUrl ?? '');
    this.#session = new Session(platform, this.#http, options.name ?? 'portcullis');
  }

  get snapshot(): Snapshot {
    return this.#session.snapshot;
  }

  /** Calls back after each change of `snapshot`; gives a function that ends it. */
  subscribe(listener: () => void): () => void {
    return this.#session.subscribe(listener);
  }

  /** Finds out whether the browser holds a session. Call it once, at start; the answer is in `snapshot`. */
  async restore(): Promise<void> {
    await this.#session.fresh(null).catch(() => undefined);
  }

  /** Tries again now what an outage has put off. */
  async retry(): Promise<void> {
    await this.#session.renew().catch(() => undefined);
  }

  /**
   * Signs in with whatever `path` asks for (`/api/auth/login`, `/api/auth/register`) and gives the answer's body. The
   * refresh token arrives as an HttpOnly cookie, which no script can read. Fails with `ApiError`.
   */
  async signIn(path: string, credentials: unknown): Promise<Record<string, unknown>> {
    return this.#session.tabs.exclusively(async () => {
      const response = await this.#http.aboutSession(path, credentials, null, LOGIN_TIMEOUT);
      if (!response.ok) throw await ApiError.from(response);
      const { access, body } = await granted(response);
      this.#session.open(access);
      return body;
    });
  }

  /**
   * Ends the session, in all tabs. When the server cannot be reached it fails with `ApiError` and the session goes on,
   * for the browser would still hold its cookie.
   */
  async signOut(): Promise<void> {
    const request = async () => {
      const { held } = this.#session;
      const response = await this.#http.aboutSession('/api/auth/logout', {}, held, SESSION_TIMEOUT);
      if (!response.ok) throw await ApiError.from(response);
    };
    await this.endSession({ cause: 'logout' }, () => this.#session.tabs.exclusively(request));
  }

  /** Runs a request that ends this session, such as deleting the account; when it succeeds, nobody is signed in. */
  async endSession<T>(ending: Ending, request: () => Promise<T>): Promise<T> {
    return this.#session.close(ending, request);
  }

  /**
   * A request with the access token. When the token is refused, it is refreshed once and the request repeated; an
   * answer to the second attempt is given as it is. Fails with `ApiError` (nobody answered, or no token could be had
   * for the moment) or `SignedOutError`.
   */
  async request(path: string, options: RequestOptions = {}): Promise<Response> {
    return authorized(this.#session, this.#http, path, options);
  }

  /** The same, for JSON: gives the body and the headers, and throws `ApiError` for all that is not 2xx. */
  async json(path: string, options: RequestOptions = {}): Promise<{ body: unknown; headers: Headers }> {
    const response = await this.request(path, options);
    if (!response.ok) throw await ApiError.from(response);
    const text = await response.text().catch((error: unknown) => {
      throw ApiError.network(error);
    });
    try {
      return { body: text === '' ? null : (JSON.parse(text) as unknown), headers: response.headers };
    } catch {
      throw unreadable(response);
    }
  }

  /** Lets go of timers, channels and connections, e.g. in a test. */
  close(): void {
    this.#session.dispose();
  }
}

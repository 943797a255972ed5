/// Requests, in two kinds: those to services, and those about the session itself.
import { ApiError, asRecord } from './errors.ts';
import type { Platform } from './platform.ts';

export interface RequestOptions {
  method?: string;
  headers?: Record<string, string>;
  /** Sent as JSON. */
  json?: unknown;
  signal?: AbortSignal;
  credentials?: RequestCredentials;
  /** The browser is to finish it although the page is gone. A long body is sent without that. */
  keepalive?: boolean;
}

/** Browsers refuse `keepalive` to bodies of more than 64 KiB in all; no character takes more than three bytes. */
const LONGEST_KEPT_ALIVE = 16_384;

export class Http {
  readonly #platform: Platform;
  readonly #baseUrl: string;

  constructor(platform: Platform, baseUrl: string) {
    this.#platform = platform;
    this.#baseUrl = baseUrl.replace(/\/$/, '');
  }

  /** Fails with `ApiError` when there is no answer; every answer is given as it is. */
  async send(path: string, options: RequestOptions, token: string | null): Promise<Response> {
    const { signal, credentials, json, keepalive } = options;
    const headers: Record<string, string> = { Accept: 'application/json', ...options.headers };
    const init: RequestInit = { method: options.method ?? 'GET', headers, cache: 'no-store' };
    if (json !== undefined) {
      headers['Content-Type'] = 'application/json';
      const body = JSON.stringify(json);
      init.body = body;
      if (keepalive === true && body.length <= LONGEST_KEPT_ALIVE) init.keepalive = true;
    }
    if (token !== null) headers.Authorization = `Bearer ${token}`;
    if (signal !== undefined) init.signal = signal;
    if (credentials !== undefined) init.credentials = credentials;
    try {
      return await this.#platform.fetch(this.#baseUrl + path, init);
    } catch (error) {
      if (signal?.aborted === true) throw error;
      throw ApiError.network(error);
    }
  }

  /**
   * A POST that sets, uses or clears the session's cookie. Its answer is read whole, within `timeout` milliseconds. When
   * the page closes meanwhile, the browser still takes the new cookie: the server has let go of the old one.
   */
  async aboutSession(path: string, json: unknown, token: string | null, timeout: number): Promise<Response> {
    const patience = new AbortController();
    const timer = setTimeout(() => patience.abort(), timeout);
    const headers = { 'X-Token-Delivery': 'cookie' };
    try {
      const options = {
        method: 'POST',
        headers,
        json,
        credentials: 'include',
        keepalive: true,
        signal: patience.signal,
      } as const;
      return await whole(await this.send(path, options, token));
    } catch (error) {
      throw error instanceof ApiError ? error : ApiError.network(error);
    } finally {
      clearTimeout(timer);
    }
  }
}

/** The same answer, once all of it has arrived. */
export async function whole(response: Response): Promise<Response> {
  const text = await response.text();
  const { status, headers } = response;
  return new Response(text === '' ? null : text, { status, headers });
}

/** The access token in an answer, and the rest of it. */
export async function granted(
  response: Response,
): Promise<{ access: string; body: Record<string, unknown> }> {
  const body = asRecord(await response.json().catch(() => null));
  const { access } = body;
  if (typeof access !== 'string') throw unreadable(response);
  return { access, body };
}

/** A 2xx that is not what it should be: a proxy in between, or a version that does not fit. */
export function unreadable(response: Response): ApiError {
  return new ApiError(502, 'unreadable', `The answer could not be read (${response.status}).`);
}

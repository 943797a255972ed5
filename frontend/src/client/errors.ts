/// What can go wrong with a request, in the terms of Portcullis's error shape (RFC 9457).

/** An answer that is not 2xx, or none at all (`status` 0). */
export class ApiError extends Error {
  override readonly name = 'ApiError';

  constructor(
    readonly status: number,
    /** For programs: `no_active_account`, `store_unavailable`, …; `network` when there was no answer. */
    readonly code: string,
    /** For people. */
    readonly detail: string,
    /** Messages by field. */
    readonly fields: Readonly<Record<string, readonly string[]>> = {},
    /** Milliseconds after which trying again is sensible, when the server said so; a minute at most. */
    readonly retryAfter: number | null = null,
    readonly requestId: string | null = null,
  ) {
    super(detail);
  }

  /** Whether the same request may succeed later: nobody is to blame but the moment. */
  get temporary(): boolean {
    return this.status === 0 || this.status === 429 || this.status >= 500;
  }

  static network(cause?: unknown): ApiError {
    const error = new ApiError(0, 'network', 'The server cannot be reached. Check your connection.');
    error.cause = cause;
    return error;
  }

  /** Reads the error out of an answer; an answer in another shape gets a sentence by its status. */
  static async from(response: Response): Promise<ApiError> {
    const body = asRecord(await response.json().catch(() => null));
    return new ApiError(
      response.status,
      text(body.code) ?? 'unknown',
      text(body.detail) ?? sentence(response.status),
      messages(body.errors),
      retryAfter(response.headers),
      text(body.request_id) ?? response.headers.get('x-request-id'),
    );
  }
}

/** The request was not sent, or not again, because nobody is signed in. */
export class SignedOutError extends Error {
  override readonly name = 'SignedOutError';

  constructor() {
    super('Nobody is signed in.');
  }
}

/** The members of an object; none of anything else. */
export function asRecord(value: unknown): Record<string, unknown> {
  return typeof value === 'object' && value !== null ? (value as Record<string, unknown>) : {};
}

function text(value: unknown): string | null {
  return typeof value === 'string' && value !== '' ? value : null;
}

function messages(value: unknown): Record<string, string[]> {
  const fields: Record<string, string[]> = {};
  for (const [field, list] of Object.entries(asRecord(value))) {
    const found = (Array.isArray(list) ? list : [list]).filter((one) => typeof one === 'string');
    if (found.length > 0) fields[field] = found;
  }
  return fields;
}

function sentence(status: number): string {
  return status >= 500
    ? 'The server cannot answer right now. Please try again.'
    : `The server refused this request (${status}).`;
}

/** No more than this of `Retry-After` counts: a proxy that says an hour must not keep us away after a minute's outage. */
const LONGEST_RETRY = 60_000;

/**
 * `Retry-After` in milliseconds, a minute at most; a date counts from the server's own `Date`, since our clock may be
 * wrong.
 */
export function retryAfter(headers: Headers): number | null {
  const value = headers.get('retry-after');
  if (value === null) return null;
  if (/^\d+$/.test(value.trim())) return Math.min(Number(value) * 1000, LONGEST_RETRY);
  const [until, now] = [Date.parse(value), Date.parse(headers.get('date') ?? '')];
  return Number.isNaN(until) || Number.isNaN(now) ? null : Math.min(Math.max(0, until - now), LONGEST_RETRY);
}

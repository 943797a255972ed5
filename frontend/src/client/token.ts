/// The access token, as far as a client needs to read it. Nothing here verifies it: that is the server's business.
import { asRecord } from './errors.ts';

export interface AccessToken {
  readonly raw: string;
  /** Who, and in which session; null when the token does not say. */
  readonly userId: string | null;
  readonly sessionId: string | null;
  /** When it was made, in the server's seconds: only for telling the newer of two tokens. */
  readonly issued: number;
  /** How long it lives in all, in milliseconds; infinite when it does not say. */
  readonly lifetime: number;
  /** When it dies, on this tab's monotonic clock: its lifetime counted from its receipt. */
  readonly expires: number;
}

/** Reads a token that has been received at `now` with `remaining` milliseconds to live (default: all of them). */
export function readToken(raw: string, now: number, remaining?: number): AccessToken {
  const claims = payload(raw);
  const issued = typeof claims.iat === 'number' ? claims.iat : 0;
  const lifetime = typeof claims.exp === 'number' && issued > 0 ? (claims.exp - issued) * 1000 : Infinity;
  return {
    raw,
    userId: typeof claims.sub === 'string' ? claims.sub : null,
    sessionId: typeof claims.sid === 'string' ? claims.sid : null,
    issued,
    lifetime,
    expires: now + Math.min(remaining ?? lifetime, lifetime),
  };
}

/** How long before its end a token should be replaced: 30 s, or a fifth of a short life. */
export function margin(token: AccessToken): number {
  return Math.min(30_000, token.lifetime / 5);
}

function payload(raw: string): Record<string, unknown> {
  try {
    const part = (raw.split('.')[1] ?? '').replaceAll('-', '+').replaceAll('_', '/');
    const bytes = Uint8Array.from(atob(part), (char) => char.charCodeAt(0));
    return asRecord(JSON.parse(new TextDecoder().decode(bytes)));
  } catch {
    return {};
  }
}

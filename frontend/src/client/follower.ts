/// Listens to the server for the end of the session.
import { ApiError, SignedOutError } from './errors.ts';
import { backoff } from './backoff.ts';
import { parseRevocation, readEvents } from './events.ts';
import { authorized } from './authorized.ts';
import type { Http } from './http.ts';
import type { Platform } from './platform.ts';
import type { Session } from './session.ts';

/** After this long an event stream counts as one that worked. */
const STEADY = 2_000;

/** Connects again whenever the stream ends, each time with a token that is fresh, until the session is over. */
export async function follow(
  session: Session,
  http: Http,
  platform: Platform,
  signal: AbortSignal,
): Promise<void> {
  let failures = 0;
  const heard = () => {
    failures = 0;
  };
  while (!signal.aborted) {
    let asked: number | null = null;
    let opened = Infinity;
    try {
      const headers = { Accept: 'text/event-stream' };
      const response = await authorized(session, http, '/api/auth/events', { headers, signal });
      if (!response.ok || response.body === null) throw await ApiError.from(response);
      opened = platform.now();
      for await (const event of readEvents(response.body, signal, heard)) {
        if (event.name !== 'revoked') continue;
        session.over({ cause: 'ended', ...parseRevocation(event.data) }, true);
        return;
      }
    } catch (error) {
      if (error instanceof SignedOutError) return;
      if (error instanceof ApiError) asked = error.retryAfter;
    }
    failures += 1;
    // A stream that has lived ends with its token, or with its gateway; not all clients come back at once.
    const lived = platform.now() - opened > STEADY;
    await pause(lived ? platform.random() * 500 : backoff(failures, asked, platform.random), signal);
  }
}

function pause(delay: number, signal: AbortSignal): Promise<void> {
  return new Promise((resolve) => {
    const done = () => {
      clearTimeout(timer);
      signal.removeEventListener('abort', done);
      resolve();
    };
    const timer = setTimeout(done, delay);
    signal.addEventListener('abort', done);
    if (signal.aborted) done();
  });
}

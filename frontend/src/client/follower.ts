/// Listens to the server for the end of the session.
import { ApiError, SignedOutError } from './errors.ts';
import { backoff } from './backoff.ts';
import { parseRevocation, readEvents } from './events.ts';
import { authorized } from './authorized.ts';
import { whole, type Http } from './http.ts';
import type { Platform } from './platform.ts';
import type { Session } from './session.ts';

/** After this long, a beat of the server's, an event stream counts as one that worked. */
const STEADY = 15_000;
/** How long an answer may take to begin; a refusal, to arrive. */
const PATIENCE = 15_000;

/** Connects again whenever the stream ends, each time with a token that is fresh, until the session is over. */
export async function follow(
  session: Session,
  http: Http,
  platform: Platform,
  signal: AbortSignal,
): Promise<void> {
  let failures = 0;
  while (!signal.aborted) {
    let asked: number | null = null;
    let opened = Infinity;
    const attempt = new AbortController();
    const stop = () => attempt.abort();
    signal.addEventListener('abort', stop);
    try {
      const response = await open(session, http, attempt);
      if (!response.ok || response.body === null) throw await ApiError.from(response);
      opened = platform.now();
      for await (const event of readEvents(response.body, attempt.signal)) {
        if (event.name !== 'revoked') continue;
        session.over({ cause: 'ended', ...parseRevocation(event.data) }, true);
        return;
      }
    } catch (error) {
      if (error instanceof SignedOutError) return;
      if (error instanceof ApiError) asked = error.retryAfter;
    } finally {
      signal.removeEventListener('abort', stop);
    }
    // A stream that has lived ends with its token, or with its gateway; not all clients come back at once. One that was
    // cut soon after its greeting has failed.
    const lived = platform.now() - opened >= STEADY;
    failures = lived ? 0 : failures + 1;
    await pause(lived ? platform.random() * 500 : backoff(failures, asked, platform.random), signal);
  }
}

/** Asks for the stream, and aborts the `attempt` when the server is silent. What a refresh takes does not count. */
function open(session: Session, http: Http, attempt: AbortController): Promise<Response> {
  const send: Http['send'] = async (...request) => {
    const timer = setTimeout(() => attempt.abort(), PATIENCE);
    try {
      const response = await http.send(...request);
      return response.ok ? response : await whole(response);
    } finally {
      clearTimeout(timer);
    }
  };
  const options = { headers: { Accept: 'text/event-stream' }, signal: attempt.signal };
  return authorized(session, { send }, '/api/auth/events', options);
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

/// What a page shows when its data cannot be had; it tries again by itself when that may help.
import { useEffect } from 'react';
import { toProblem } from '../app/problem.ts';
import { Button } from './Button.tsx';

/** How long to wait before trying again when the server does not say. */
const PAUSE = 5_000;

interface Props {
  /** What a query failed with. */
  error: unknown;
  retry: () => unknown;
  busy: boolean;
}

export function Problem({ error, retry, busy }: Props) {
  const { detail, temporary, retryAfter } = toProblem(error);
  useEffect(() => {
    if (!temporary || busy) return;
    const timer = setTimeout(retry, Math.max(retryAfter ?? 0, PAUSE));
    return () => clearTimeout(timer);
  }, [temporary, retryAfter, busy, retry]);
  return (
    <div className="card mt-6 rounded-md border-l-4 border-l-danger p-5 sm:p-6">
      <div role="alert">
        <p className="font-semibold">
          {temporary ? 'This is not available at the moment.' : 'That did not work.'}
        </p>
        <p className="mt-1 text-muted">{detail}</p>
        {temporary && (
          <p className="mt-1 text-sm text-muted">
            You are still signed in. It will be tried again by itself.
          </p>
        )}
      </div>
      <Button small className="mt-4" busy={busy && 'Trying…'} onClick={() => void retry()}>
        Try again
      </Button>
    </div>
  );
}

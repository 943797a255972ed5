/// Shown while it is not known yet whether anybody is signed in. Nothing at first: mostly it takes a moment only.
import type { Outage } from '../client/index.ts';
import { client } from '../app/client.ts';
import { Button } from '../ui/Button.tsx';
import { Mark } from '../ui/Mark.tsx';

export function Splash({ outage }: { outage: Outage | null }) {
  return (
    <main className="appear-late flex min-h-dvh flex-col items-center justify-center gap-5 px-6 text-center">
      <title>Portcullis</title>
      <Mark className="size-16" />
      <h1 className="display text-2xl">{outage === null ? 'One moment' : 'The gate cannot be reached'}</h1>
      <div role="status" className="max-w-prose text-muted">
        {outage === null ? (
          <p>Looking for your session.</p>
        ) : (
          <>
            <p>{outage.detail}</p>
            <p className="mt-1 text-sm">
              If you were signed in, you still are. It will be tried again by itself.
            </p>
          </>
        )}
      </div>
      {outage !== null && (
        <Button look="primary" onClick={() => void client.retry()}>
          Try now
        </Button>
      )}
    </main>
  );
}

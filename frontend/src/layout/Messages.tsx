/// What there is to say above a page: an outage, and what has just been done. Screen readers read what appears here.
import { useEffect } from 'react';
import { useLocation } from 'react-router';
import { client } from '../app/client.ts';
import { dismissed, useAppDispatch, useAppSelector } from '../app/store.ts';
import { Button } from '../ui/Button.tsx';
import { focusTitle } from '../ui/Page.tsx';

export function Messages() {
  const session = useAppSelector((state) => state.session);
  const notice = useAppSelector((state) => state.notice);
  const dispatch = useAppDispatch();
  const { pathname } = useLocation();
  useEffect(() => {
    dispatch(dismissed());
  }, [pathname, dispatch]);
  const outage = session.status === 'signed-in' ? session.outage : null;
  return (
    <div role="status" className="space-y-3 [&:not(:empty)]:mb-6">
      {outage !== null && (
        <Bar look="border-l-brass" action="Try now" act={() => void client.retry()}>
          You are still signed in, but the server cannot be reached at the moment. It will be tried again by
          itself.
        </Bar>
      )}
      {notice !== null && (
        <Bar
          look={notice.kind === 'done' ? 'border-l-accent' : 'border-l-danger'}
          action="Dismiss"
          act={() => {
            dispatch(dismissed());
            focusTitle();
          }}
        >
          {notice.text}
        </Bar>
      )}
    </div>
  );
}

function Bar(props: { look: string; action: string; act: () => void; children: string }) {
  return (
    <div
      className={`card flex flex-wrap rounded-md items-center gap-x-4 gap-y-2 border-l-4 py-2.5 pr-3 pl-4 ${props.look}`}
    >
      <p className="min-w-48 grow text-[0.9375rem]">{props.children}</p>
      <Button small onClick={props.act}>
        {props.action}
      </Button>
    </div>
  );
}

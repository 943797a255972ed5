/// All accounts, for superusers: search, order, page, and look after one.
import { useEffect, useRef, useState } from 'react';
import { useSearchParams } from 'react-router';
import { useMeQuery, useUsersQuery, type User } from '../app/api.ts';
import { Button } from '../ui/Button.tsx';
import { Page } from '../ui/Page.tsx';
import { Problem } from '../ui/Problem.tsx';
import { Skeleton } from '../ui/Skeleton.tsx';
import { ManageUser } from './users/ManageUser.tsx';
import { UserTable } from './users/UserTable.tsx';

const ORDERINGS = {
  '-updated': 'Last changed first',
  '-created': 'Newest first',
  created: 'Oldest first',
  username: 'Username, A to Z',
  '-username': 'Username, Z to A',
  email: 'Email, A to Z',
};
const DEFAULT = '-updated';
/** How long to wait for the next letter of a search. */
const TYPING = 250;

export function Users() {
  const { data: me, error, isFetching, refetch } = useMeQuery();
  return (
    <Page title="Users" lead="Everybody who has an account here.">
      {me?.is_superuser === true && <List me={me} />}
      {me?.is_superuser === false && (
        <p className="card mt-6 p-6">This page is for superusers. Your account is not one of them.</p>
      )}
      {!me && error && <Problem error={error} retry={refetch} busy={isFetching} />}
      {!me && !error && <Skeleton lines={5} label="Loading users" />}
    </Page>
  );
}

function List({ me }: { me: User }) {
  const [query, setQuery] = useSearchParams();
  const search = query.get('search') ?? '';
  const wanted = query.get('order') ?? DEFAULT;
  const ordering = wanted in ORDERINGS ? wanted : DEFAULT;
  // The cursors of the pages before this one, the first of which has none.
  const [pages, setPages] = useState<(string | null)[]>([null]);
  const [managed, setManaged] = useState<string | null>(null);
  const cursor = pages.at(-1) ?? null;
  const { currentData, data, error, isFetching, refetch } = useUsersQuery({ search, ordering, cursor });
  // While another page or search is loading, the last one stays.
  const shown = currentData ?? (error ? undefined : data);
  const user = shown?.users.find(({ id }) => id === managed);

  const change = (key: string, value: string, plain: string) => {
    setPages([null]);
    setQuery(
      (before) => {
        const after = new URLSearchParams(before);
        if (value === plain) after.delete(key);
        else after.set(key, value);
        return after;
      },
      { replace: true },
    );
  };

  return (
    <>
      <div className="mt-6 grid gap-4 sm:grid-cols-[1fr_auto]">
        <Search start={search} changed={(text) => change('search', text, '')} />
        <label className="block">
          <span className="mb-1.5 block text-sm font-semibold">Order</span>
          <select
            className="input"
            value={ordering}
            onChange={(event) => change('order', event.target.value, DEFAULT)}
          >
            {Object.entries(ORDERINGS).map(([value, name]) => (
              <option key={value} value={value}>
                {name}
              </option>
            ))}
          </select>
        </label>
      </div>
      {error && !isFetching && <Problem error={error} retry={refetch} busy={isFetching} />}
      {!shown && (!error || isFetching) && <Skeleton lines={5} label="Loading users" />}
      <p role="status" className="sr-only">
        {shown && !isFetching && `${shown.users.length} users shown`}
      </p>
      {shown?.users.length === 0 && (
        <p className="card mt-6 p-6 text-muted">
          {search === '' ? 'There is nobody here.' : `Nobody has “${search}” in their username or email.`}
        </p>
      )}
      {shown && shown.users.length > 0 && (
        <UserTable users={shown.users} me={me} manage={setManaged} loading={isFetching} />
      )}
      {shown && (pages.length > 1 || shown.next !== null) && (
        <nav aria-label="Pages" className="mt-5 flex items-center justify-between gap-4">
          <Button
            small
            className={pages.length > 1 ? '' : 'invisible'}
            busy={isFetching && 'Previous'}
            onClick={() => setPages(pages.slice(0, -1))}
          >
            Previous
          </Button>
          <span className="text-sm text-muted">Page {pages.length}</span>
          <Button
            small
            className={shown.next === null ? 'invisible' : ''}
            busy={isFetching && 'Next'}
            onClick={() => setPages([...pages, shown.next])}
          >
            Next
          </Button>
        </nav>
      )}
      {user && <ManageUser user={user} self={user.id === me.id} close={() => setManaged(null)} />}
    </>
  );
}

/** Tells what is searched for once the typing stops. */
function Search({ start, changed }: { start: string; changed: (text: string) => void }) {
  const [text, setText] = useState(start);
  const latest = useRef(changed);
  useEffect(() => {
    latest.current = changed;
  });
  useEffect(() => {
    if (text === start) return;
    const timer = setTimeout(() => latest.current(text.trim()), TYPING);
    return () => clearTimeout(timer);
  }, [text, start]);
  return (
    <label className="block">
      <span className="mb-1.5 block text-sm font-semibold">Search</span>
      <input
        type="search"
        className="input"
        placeholder="Part of a username or email"
        autoComplete="off"
        spellCheck={false}
        value={text}
        onChange={(event) => setText(event.target.value)}
      />
    </label>
  );
}

/// What is around every page: the way past it, the navigation of whoever is signed in, and what there is to say.
import { Suspense } from 'react';
import { Link, NavLink, Outlet, useLocation } from 'react-router';
import { useMeQuery } from '../app/api.ts';
import { useAppSelector } from '../app/store.ts';
import { Mark } from '../ui/Mark.tsx';
import { Messages } from './Messages.tsx';
import { SignOut } from './SignOut.tsx';
import { Splash } from './Splash.tsx';
import { ThemeSwitch } from './ThemeSwitch.tsx';

export function Shell() {
  const session = useAppSelector((state) => state.session);
  if (session.status === 'restoring') return <Splash outage={session.outage} />;
  return (
    <div className="flex min-h-dvh flex-col">
      <a
        href="#main"
        className="button button-primary absolute top-2 left-2 z-10 -translate-y-24 focus:translate-y-0"
      >
        Skip to the content
      </a>
      <Header signedIn={session.status === 'signed-in'} />
      <main
        id="main"
        tabIndex={-1}
        className="mx-auto flex w-full max-w-5xl grow flex-col px-4 pt-6 pb-16 sm:px-6 sm:pt-9"
      >
        <Messages />
        <Suspense fallback={<p className="appear-late text-muted">Loading…</p>}>
          <Outlet />
        </Suspense>
      </main>
      <footer className="border-t border-line">
        <div className="mx-auto flex max-w-5xl flex-wrap items-center justify-between gap-x-6 gap-y-2 px-4 py-4 text-sm text-muted sm:px-6">
          <p>Portcullis keeps the gate.</p>
          <ThemeSwitch />
        </div>
      </footer>
    </div>
  );
}

function Header({ signedIn }: { signedIn: boolean }) {
  return (
    <header className="border-b border-line bg-raised">
      <div className="mx-auto flex max-w-5xl flex-wrap items-center gap-x-6 px-4 sm:px-6">
        <Link to="/" className="flex items-center gap-2.5 py-3">
          <Mark />
          <span className="display text-xl">Portcullis</span>
        </Link>
        {signedIn ? <Inside /> : <Outside />}
      </div>
    </header>
  );
}

function Inside() {
  const { data: me } = useMeQuery();
  return (
    <>
      <nav
        aria-label="Main"
        className="order-last -mx-1 flex w-full overflow-x-auto sm:order-none sm:w-auto sm:grow"
      >
        <Entry to="/">Home</Entry>
        <Entry to="/profile">Profile</Entry>
        <Entry to="/sessions">Devices</Entry>
        {me?.is_superuser === true && <Entry to="/users">Users</Entry>}
      </nav>
      <div className="ml-auto flex min-w-0 items-center gap-3">
        {me !== undefined && (
          <span className="hidden max-w-40 truncate text-sm text-muted lg:block" title={me.email}>
            {me.username}
          </span>
        )}
        <SignOut />
      </div>
    </>
  );
}

function Outside() {
  const { search } = useLocation();
  return (
    <nav aria-label="Main" className="ml-auto flex">
      <Entry to={`/login${search}`}>Sign in</Entry>
      <Entry to={`/register${search}`}>Register</Entry>
    </nav>
  );
}

function Entry({ to, children }: { to: string; children: string }) {
  return (
    <NavLink
      to={to}
      end
      className="border-b-2 border-transparent px-3 py-3.5 text-[0.9375rem] font-medium text-muted hover:text-ink aria-[current=page]:border-brass aria-[current=page]:text-ink"
    >
      {children}
    </NavLink>
  );
}

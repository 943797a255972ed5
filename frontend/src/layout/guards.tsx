/// Which pages are for whom.
import { Navigate, Outlet, useLocation, useSearchParams } from 'react-router';
import { useAppSelector } from '../app/store.ts';
import { loginPath, safeReturnPath } from '../lib/returnPath.ts';

/** Pages for whoever is signed in; others log in first and come back. */
export function Protected() {
  const session = useAppSelector((state) => state.session);
  const { pathname, search, hash } = useLocation();
  if (session.status === 'signed-in') return <Outlet />;
  // Who left on purpose does not want to be taken back.
  const left = session.status === 'signed-out' && ['logout', 'request'].includes(session.ending.cause);
  return <Navigate to={left ? '/login' : loginPath(pathname + search + hash)} replace />;
}

/** Pages for whoever is not signed in; once they are, they go where they wanted to. */
export function Guest() {
  const session = useAppSelector((state) => state.session);
  const [query] = useSearchParams();
  if (session.status !== 'signed-in') return <Outlet />;
  return <Navigate to={safeReturnPath(query.get('next'))} replace />;
}

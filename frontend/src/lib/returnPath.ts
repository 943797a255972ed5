/// Where to go after signing in: a path of this app, or home.

/** Pages that make no sense as a place to come back to. */
const NOT_BACK = new Set(['/login', '/register']);
const ORIGIN = 'https://app.invalid';

/** `wanted` when it is a path of this app, otherwise `/`. Whatever could lead to another origin is not. */
export function safeReturnPath(wanted: string | null): string {
  if (wanted === null || !/^\/(?![/\\])/.test(wanted) || hasControls(wanted)) return '/';
  try {
    const { origin, pathname, search, hash } = new URL(wanted, ORIGIN);
    if (origin !== ORIGIN || pathname.startsWith('//') || NOT_BACK.has(pathname.replace(/\/+$/, '')))
      return '/';
    return pathname + search + hash;
  } catch {
    return '/';
  }
}

/** The login page that leads back to `path` (with its search and hash). */
export function loginPath(path: string): string {
  const back = safeReturnPath(path);
  return back === '/' ? '/login' : `/login?next=${encodeURIComponent(back)}`;
}

/** URL parsers drop tabs and line ends, which may then turn a path into something else. */
function hasControls(text: string): boolean {
  return Array.from(text).some((char) => char < ' ' || char === '\u007f');
}

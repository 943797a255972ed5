/// Why nobody is signed in, in words; nothing when nobody was.
import type { Ending } from '../client/index.ts';

/** The notice of a deleted account. */
export const DELETED = 'deleted';

export function endingText(ending: Ending): string | null {
  switch (ending.cause) {
    case 'none':
      return null;
    case 'logout':
      return 'You are signed out.';
    case 'request':
      return ending.notice === DELETED ? 'Your account has been deleted.' : 'You are signed out.';
    case 'ended':
      return ended(ending.code, ending.detail);
  }
}

function ended(code: string, detail: string): string {
  switch (code) {
    case 'user_inactive':
    case 'no_active_account':
      return 'Your account is not active any more. Ask an administrator if you think that this is wrong.';
    case 'user_not_found':
      return 'This account does not exist any more.';
    case 'not_authenticated':
      return 'Your session is gone from this browser. Sign in again to go on.';
    default:
      return detail === 'Token is expired'
        ? 'You were away for a while, so your session has ended. Sign in again to go on.'
        : 'Your session has been ended. Sign in again to go on.';
  }
}

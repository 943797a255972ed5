/// Why nobody is signed in, in words.
import { expect, it } from 'vitest';
import type { Ending } from '../client/index.ts';
import { DELETED, endingText } from './ending.ts';

const ended = (code: string, detail = ''): Ending => ({ cause: 'ended', code, detail });

it.each<[Ending, RegExp]>([
  [{ cause: 'logout' }, /signed out/],
  [{ cause: 'request', notice: DELETED }, /deleted/],
  [ended('user_inactive'), /not active/],
  [ended('no_active_account'), /not active/],
  [ended('user_not_found'), /not exist/],
  [ended('token_not_valid', 'Token is expired'), /away/],
  [ended('token_not_valid', 'Token is blacklisted'), /has been ended/],
  [ended('something_new'), /has been ended/],
])('%j says %s', (ending, words) => expect(endingText(ending)).toMatch(words));

it('says nothing when nobody was signed in', () => expect(endingText({ cause: 'none' })).toBeNull());

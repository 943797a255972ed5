/// The next page.
import { expect, it } from 'vitest';
import { nextCursor } from './paging.ts';

it.each([
  ['</api/user?limit=20&cursor=abc%3D&ordering=-updated>; rel="next"', 'abc='],
  ['<https://example.com/api/user?cursor=x>; rel=next', 'x'],
  ['</api/user?cursor=first>; rel="first", </api/user?cursor=second>; rel="next"', 'second'],
  ['</api/user?cursor=back>; rel="prev"', null],
  ['</api/user?limit=3>; rel="next"', null],
  ['', null],
  [null, null],
])('of %j is %j', (link, cursor) => expect(nextCursor(link)).toBe(cursor));

/// Nobody is led out of the app by a link to its login page.
import { describe, expect, it } from 'vitest';
import { loginPath, safeReturnPath } from './returnPath.ts';

describe('the path to return to', () => {
  it.each([
    '/',
    '/profile',
    '/users?search=ada&order=email',
    '/sessions#current',
    '/a%2Fb',
    '/users?next=//evil',
  ])('is %s when that was wanted', (path) => expect(safeReturnPath(path)).toBe(path));

  it.each([
    null,
    '',
    'profile',
    'https://evil.example',
    '//evil.example',
    '///evil.example',
    '/\\evil.example',
    '\\\\evil.example',
    '/\t/evil.example',
    '/\n/evil.example',
    '\t//evil.example',
    ' //evil.example',
    '/.//evil.example',
    '/a/..//evil.example',
    'javascript:alert(1)',
    'data:text/html,x',
    'http:/evil.example',
    '/login',
    '/login/',
    '/login?next=/profile',
    '/register',
  ])('is home instead of %j', (path) => expect(safeReturnPath(path)).toBe('/'));

  it('stands in the link to the login page, encoded', () => {
    expect(loginPath('/users?search=a&order=b')).toBe('/login?next=%2Fusers%3Fsearch%3Da%26order%3Db');
    expect(loginPath('/')).toBe('/login');
    expect(loginPath('//evil.example')).toBe('/login');
  });
});

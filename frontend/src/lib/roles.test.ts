/// Roles as people type them.
import { expect, it } from 'vitest';
import { parseRoles } from './roles.ts';

it.each([
  ['editor, billing', ['editor', 'billing']],
  [' editor  editor,,;billing,', ['editor', 'billing']],
  ['', []],
  [' , ', []],
])('%j is %j', (text, roles) => expect(parseRoles(text)).toEqual(roles));

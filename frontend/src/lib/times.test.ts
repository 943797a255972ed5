/// Times as people say them.
import { expect, it } from 'vitest';
import { ago, ahead, greeting, onDay } from './times.ts';

const NOW = Date.parse('2026-11-21T12:00:00Z');

it.each([
  ['2026-11-21T11:59:40.123456Z', 'just now'],
  ['2026-11-21T12:00:20Z', 'just now'],
  ['2026-11-21T11:55:00Z', '5 minutes ago'],
  ['2026-11-21T10:30:00Z', '1 hour ago'],
  ['2026-11-20T10:30:00Z', 'yesterday'],
  ['2026-11-23T12:00:00Z', 'in 2 days'],
  ['nonsense', 'at an unknown time'],
])('%s is %s', (time, words) => expect(ago(time, NOW)).toBe(words));

it('says the date of what is long ago', () => {
  expect(ago('2026-01-02T12:00:00Z', NOW)).toBe(onDay('2026-01-02T12:00:00Z'));
});

it.each([
  [3, 'Good evening'],
  [8, 'Good morning'],
  [12, 'Good afternoon'],
  [23, 'Good evening'],
])('at %i it is %s', (hour, words) => expect(greeting(hour)).toBe(words));

it.each([
  ['2026-11-22T12:00:00Z', 'tomorrow'],
  ['2026-11-21T14:30:00Z', 'in 2 hours'],
  ['2026-11-21T12:00:30Z', 'within a minute'],
  ['2026-11-21T11:00:00Z', 'now'],
])('what is to come at %s comes %s', (time, words) => expect(ahead(time, NOW)).toBe(words));

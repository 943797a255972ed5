/// Which message stands where in a form.
import { describe, expect, it } from 'vitest';
import { ApiError, SignedOutError } from '../client/index.ts';
import { forForm, toProblem } from './problem.ts';

const invalid = (fields: Record<string, string[]>) =>
  toProblem(new ApiError(400, 'invalid', 'The detail.', fields));

describe('a form', () => {
  it('shows the messages of its fields beside them', () => {
    const problem = invalid({ email: ['Taken.', 'Odd.'], username: ['Too long.'] });
    expect(forForm(problem, ['username', 'email', 'password'])).toEqual({
      byField: [
        ['username', 'Too long.'],
        ['email', 'Taken. Odd.'],
      ],
      whole: null,
    });
  });

  it('shows what belongs to none of its fields on top', () => {
    const problem = invalid({ email: ['Taken.'], tenant: ['Required.'] });
    expect(forForm(problem, ['email'])).toEqual({
      byField: [['email', 'Taken.']],
      whole: 'tenant: Required.',
    });
  });

  it('shows the detail when no field is at fault', () => {
    const problem = toProblem(new ApiError(401, 'no_active_account', 'No active account found.'));
    expect(forForm(problem, ['login'])).toEqual({ byField: [], whole: 'No active account found.' });
    expect(forForm(invalid({ other: ['Bad.'] }), ['login']).whole).toBe('The detail.');
  });
});

describe('a problem', () => {
  it('keeps whether and when to try again', () => {
    const busy = new ApiError(503, 'busy', 'Too much is waiting.', {}, 2_000);
    expect(toProblem(busy)).toMatchObject({ temporary: true, retryAfter: 2_000 });
    expect(toProblem(new ApiError(400, 'invalid', 'No.')).temporary).toBe(false);
  });

  it('is made of anything that is thrown, and once only', () => {
    expect(toProblem(new SignedOutError()).code).toBe('signed_out');
    expect(toProblem(new TypeError('x is not a function')).detail).not.toContain('function');
    const problem = invalid({ email: ['Taken.'] });
    expect(toProblem(problem)).toBe(problem);
  });
});

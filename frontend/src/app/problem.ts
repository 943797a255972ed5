/// What went wrong, in a form that the store can keep.
import { ApiError, SignedOutError } from '../client/index.ts';

export interface Problem {
  readonly status: number;
  readonly code: string;
  readonly detail: string;
  readonly fields: Readonly<Record<string, readonly string[]>>;
  /** Whether trying again may help, and after how many milliseconds at the earliest. */
  readonly temporary: boolean;
  readonly retryAfter: number | null;
}

export function toProblem(error: unknown): Problem {
  if (error instanceof ApiError) {
    const { status, code, detail, fields, temporary, retryAfter } = error;
    return { status, code, detail, fields, temporary, retryAfter };
  }
  if (error instanceof SignedOutError) {
    return { ...UNEXPECTED, status: 401, code: 'signed_out', detail: 'You are signed out.' };
  }
  return isProblem(error) ? error : UNEXPECTED;
}

/** A fault of the app itself: the message would tell people nothing. */
const UNEXPECTED: Problem = {
  status: 0,
  code: 'unexpected',
  detail: 'Something went wrong. Please try again.',
  fields: {},
  temporary: false,
  retryAfter: null,
};

function isProblem(error: unknown): error is Problem {
  return (
    typeof error === 'object' && error !== null && 'code' in error && 'detail' in error && 'fields' in error
  );
}

/**
 * Splits a problem for a form with these fields: messages for its fields, and one for the form as a whole when something
 * is left that no field shows.
 */
export function forForm<Field extends string>(
  problem: Problem,
  fields: readonly Field[],
): { byField: [Field, string][]; whole: string | null } {
  const byField = fields.flatMap((field): [Field, string][] => {
    const messages = problem.fields[field] ?? [];
    return messages.length === 0 ? [] : [[field, messages.join(' ')]];
  });
  const others = Object.entries(problem.fields).filter(
    ([field]) => !(fields as readonly string[]).includes(field),
  );
  if (byField.length === 0) return { byField, whole: problem.detail };
  const rest = others.map(([field, messages]) => `${field}: ${messages.join(' ')}`);
  return { byField, whole: rest.length === 0 ? null : rest.join(' ') };
}

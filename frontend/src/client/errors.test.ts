/// Reading the error shape.
import { describe, expect, it } from 'vitest';
import { ApiError, retryAfter } from './errors.ts';
import { backoff } from './backoff.ts';
import { json } from './testing.ts';

describe('an error', () => {
  it('has the detail, the code, the fields and the request id of the answer', async () => {
    const body = {
      status: 400,
      code: 'invalid',
      detail: 'email: Enter a valid email address.',
      request_id: 'f00',
      errors: { email: ['Enter a valid email address.'], username: 'This field is required.', odd: 7 },
    };
    const error = await ApiError.from(json(400, body));
    expect(error).toMatchObject({ status: 400, code: 'invalid', detail: body.detail, requestId: 'f00' });
    expect(error.fields).toEqual({
      email: ['Enter a valid email address.'],
      username: ['This field is required.'],
    });
    expect(error.temporary).toBe(false);
  });

  it('has a sentence even when the answer is no JSON', async () => {
    const error = await ApiError.from(new Response('<html>', { status: 502 }));
    expect(error.detail).toMatch(/try again/);
    expect(error.temporary).toBe(true);
  });
});

describe('Retry-After', () => {
  it('is seconds, or a date that counts from the date of the answer', () => {
    expect(retryAfter(new Headers({ 'Retry-After': '3' }))).toBe(3000);
    const dated = {
      'Retry-After': 'Wed, 21 Oct 2015 07:28:30 GMT',
      Date: 'Wed, 21 Oct 2015 07:28:00 GMT',
    };
    expect(retryAfter(new Headers(dated))).toBe(30_000);
  });

  it('is a minute at most', () => {
    expect(retryAfter(new Headers({ 'Retry-After': '86400' }))).toBe(60_000);
    expect(retryAfter(new Headers({ 'Retry-After': '9'.repeat(400) }))).toBe(60_000);
    const dated = {
      'Retry-After': 'Wed, 21 Oct 2015 09:28:30 GMT',
      Date: 'Wed, 21 Oct 2015 07:28:00 GMT',
    };
    expect(retryAfter(new Headers(dated))).toBe(60_000);
  });

  it('is nothing when it is missing or nonsense', () => {
    expect(retryAfter(new Headers())).toBeNull();
    expect(retryAfter(new Headers({ 'Retry-After': 'soon' }))).toBeNull();
  });
});

describe('the pause between attempts', () => {
  it('doubles from a second to half a minute, half of it at random', () => {
    const least = [1, 2, 3, 5, 6, 50].map((failures) => backoff(failures, null, () => 0));
    const most = [1, 2, 3, 5, 6, 50].map((failures) => backoff(failures, null, () => 1));
    expect(least).toEqual([500, 1_000, 2_000, 8_000, 15_000, 15_000]);
    expect(most).toEqual([1_000, 2_000, 4_000, 16_000, 30_000, 30_000]);
  });

  it('is never shorter than the server asked for', () => {
    expect(backoff(1, 20_000, () => 0)).toBeGreaterThanOrEqual(20_000);
  });
});

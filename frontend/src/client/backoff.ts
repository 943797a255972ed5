/// How long to wait between attempts, so that many clients do not come back at the same moment.

const FIRST = 1_000;
const LONGEST = 30_000;

/**
 * The pause before attempt `failures + 1`, in milliseconds: doubling up to 30 s, of which a random half is left out.
 * Never shorter than what the server asked for.
 */
export function backoff(failures: number, asked: number | null, random: () => number): number {
  const full = Math.min(LONGEST, FIRST * 2 ** Math.max(0, failures - 1));
  const jittered = full / 2 + (random() * full) / 2;
  return asked === null ? jittered : asked + jittered / 2;
}

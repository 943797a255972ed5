/// Times as people say them.

const STEPS: [Intl.RelativeTimeFormatUnit, number][] = [
  ['day', 86_400],
  ['hour', 3_600],
  ['minute', 60],
];
const relative = new Intl.RelativeTimeFormat('en', { numeric: 'auto' });
const dates = new Intl.DateTimeFormat('en', { dateStyle: 'medium' });
const moments = new Intl.DateTimeFormat('en', { dateStyle: 'medium', timeStyle: 'short' });

/** `5 minutes ago`, `in 3 hours`, `just now`; beyond 30 days the date. */
export function ago(time: string, now = Date.now()): string {
  const seconds = (Date.parse(time) - now) / 1000;
  if (Number.isNaN(seconds)) return 'at an unknown time';
  if (Math.abs(seconds) > 30 * 86_400) return onDay(time);
  const step = STEPS.find(([, length]) => Math.abs(seconds) >= length);
  return step === undefined ? 'just now' : relative.format(Math.trunc(seconds / step[1]), step[0]);
}

/** Like `ago`, for what is to come: `now` when it should have happened already. */
export function ahead(time: string, now = Date.now()): string {
  return Date.parse(time) <= now ? 'now' : ago(time, now).replace('just now', 'within a minute');
}

export function onDay(time: string): string {
  return format(dates, time);
}

export function atMoment(time: string): string {
  return format(moments, time);
}

function format(how: Intl.DateTimeFormat, time: string): string {
  const date = new Date(time);
  return Number.isNaN(date.getTime()) ? 'at an unknown time' : how.format(date);
}

/** `Good morning`, by the clock on the wall. */
export function greeting(hour = new Date().getHours()): string {
  if (hour < 5 || hour >= 18) return 'Good evening';
  return hour < 12 ? 'Good morning' : 'Good afternoon';
}

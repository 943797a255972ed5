/// The next page, from the header `Link` (RFC 8288).

/** The cursor in the link with `rel="next"`; null when there is none. */
export function nextCursor(link: string | null): string | null {
  for (const [, target = '', parameters = ''] of (link ?? '').matchAll(/<([^>]*)>([^<]*)/g)) {
    if (!/;\s*rel="?next"?\s*(?:[;,]|$)/i.test(parameters)) continue;
    return new URL(target, 'https://api.invalid').searchParams.get('cursor');
  }
  return null;
}

/// Server-sent events read with fetch, since EventSource cannot send an Authorization header.
import { asRecord } from './errors.ts';

export interface ServerEvent {
  readonly name: string;
  readonly data: string;
}

/** Nothing for this long, not even the server's comments (every 15 s), means that the connection is dead. */
export const SILENCE = 45_000;

/**
 * Reads the events of `body` until it ends, until `signal` aborts (then it ends too), or until nothing, not even a
 * comment, came for 45 s.
 */
export async function* readEvents(
  body: ReadableStream<Uint8Array>,
  signal: AbortSignal,
): AsyncGenerator<ServerEvent> {
  const reader = body.pipeThrough(new TextDecoderStream() as TransformStream<Uint8Array, string>).getReader();
  const stop = () => void reader.cancel().catch(() => undefined);
  signal.addEventListener('abort', stop, { once: true });
  let watchdog = setTimeout(stop, SILENCE);
  let buffer = '';
  try {
    for (;;) {
      const { done, value } = await reader.read();
      if (done || signal.aborted) return;
      clearTimeout(watchdog);
      watchdog = setTimeout(stop, SILENCE);
      buffer = (buffer + value).replaceAll('\r\n', '\n');
      const blocks = buffer.split('\n\n');
      buffer = blocks.pop() ?? '';
      for (const block of blocks) {
        const event = parseEvent(block);
        if (event !== null) yield event;
      }
    }
  } finally {
    clearTimeout(watchdog);
    signal.removeEventListener('abort', stop);
    stop();
  }
}

/** One block of lines; null for one without data, such as a comment. */
export function parseEvent(block: string): ServerEvent | null {
  let name = 'message';
  const data: string[] = [];
  for (const line of block.split('\n')) {
    const [, field = '', value = ''] = /^([^:]*)(?:: ?(.*))?$/.exec(line) ?? [];
    if (field === 'event') name = value;
    if (field === 'data') data.push(value);
  }
  return data.length === 0 ? null : { name, data: data.join('\n') };
}

/** What the event `revoked` says. */
export function parseRevocation(data: string): { code: string; detail: string } {
  let body: Record<string, unknown> = {};
  try {
    body = asRecord(JSON.parse(data));
  } catch {
    // Whatever it says, the session is over.
  }
  const { code, detail } = body;
  return {
    code: typeof code === 'string' ? code : 'token_not_valid',
    detail: typeof detail === 'string' ? detail : 'This session has ended.',
  };
}

/// The interceptor: a request with the access token, repeated once with a fresh one when it is refused.
import type { Http, RequestOptions } from './http.ts';
import type { Session } from './session.ts';

/** An answer to the second attempt is given as it is, 401 or not: only a refused refresh means the session is over. */
export async function authorized(
  session: Session,
  http: Pick<Http, 'send'>,
  path: string,
  options: RequestOptions,
): Promise<Response> {
  const first = await session.fresh(null);
  const response = await http.send(path, options, first);
  if (response.status !== 401) return response;
  void response.body?.cancel();
  const second = await session.fresh(first);
  return http.send(path, options, second);
}

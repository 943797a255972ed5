/// Accounts to look at.
import { PASSWORD, type Installation } from './installation.ts';

const NAMES =
  'grace linus margaret dennis barbara ken frances edsger radia tony hedy john karen alan joan donald mary leslie ' +
  'evelyn bjarne shafi whitfield jean';

/** A superuser, `ada`, and two dozen people. */
export async function populate(installation: Installation): Promise<void> {
  for (const name of NAMES.split(' ').reverse()) await installation.register(name);
  await installation.createSuperuser('ada');
  const { access } = await login(installation, 'ada');
  const headers = { Authorization: `Bearer ${access}`, 'Content-Type': 'application/json' };
  const users = (await (await installation.fetch('/api/user', { headers })).json()) as {
    id: string;
    username: string;
  }[];
  const change = async (name: string, changes: object) => {
    const id = users.find(({ username }) => username === name)?.id ?? '';
    const answer = await installation.fetch(`/api/admin/users/${id}`, {
      method: 'PATCH',
      headers,
      body: JSON.stringify(changes),
    });
    if (!answer.ok) throw new Error(`${name}: ${answer.status} ${await answer.text()}`);
  };
  await change('ken', { roles: ['billing', 'support'] });
  await change('radia', { roles: ['editor'], is_staff: true });
  await change('dennis', { is_active: false });
  await change('grace', { is_staff: true });
}

/** A session without a browser; gives its tokens. */
export async function login(
  installation: Installation,
  username: string,
  password = PASSWORD,
  userAgent = 'curl/8.5.0',
): Promise<{ access: string; refresh: string }> {
  const answer = await installation.fetch('/api/auth/login', {
    method: 'POST',
    headers: { 'Content-Type': 'application/json', 'User-Agent': userAgent },
    body: JSON.stringify({ username, password }),
  });
  if (!answer.ok) throw new Error(`${username}: ${answer.status} ${await answer.text()}`);
  return (await answer.json()) as { access: string; refresh: string };
}

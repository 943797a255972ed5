/// Signing in.
import { Link, useLocation } from 'react-router';
import { maxLength, nonEmpty, object, pipe, string } from 'valibot';
import { client } from '../app/client.ts';
import { useAppSelector } from '../app/store.ts';
import { endingText } from '../lib/ending.ts';
import { Button } from '../ui/Button.tsx';
import { Field, FormProblem } from '../ui/Field.tsx';
import { useServerForm } from '../ui/useServerForm.ts';
import { Gatehouse } from './Gatehouse.tsx';

const schema = object({
  login: pipe(
    string(),
    nonEmpty('Enter your email address or username.'),
    maxLength(255, 'This is too long.'),
  ),
  password: pipe(string(), nonEmpty('Enter your password.')),
});

export function Login() {
  const { search } = useLocation();
  const session = useAppSelector((state) => state.session);
  const form = useServerForm(schema, { login: '', password: '' });
  const { isSubmitting } = form.formState;
  const reason = session.status === 'signed-out' ? endingText(session.ending) : null;

  const submit = form.submitting(async ({ login, password }) => {
    const name = /^[^@\s]+@[^@\s]+$/.test(login) ? { email: login } : { username: login };
    await client.signIn('/api/auth/login', { ...name, password });
  });

  return (
    <Gatehouse title="Sign in" heading="Sign in" opening={isSubmitting}>
      <div role="status">
        {reason !== null && (
          <p className="mb-6 rounded-lg border-l-4 border-l-brass bg-brass-soft px-4 py-3 text-[0.9375rem]">
            {reason}
          </p>
        )}
      </div>
      <form noValidate onSubmit={submit} className="space-y-5">
        <Field
          label="Email or username"
          autoComplete="username"
          autoCapitalize="none"
          autoCorrect="off"
          spellCheck={false}
          error={form.message('login')}
          {...form.register('login')}
        />
        <Field
          label="Password"
          type="password"
          autoComplete="current-password"
          error={form.message('password')}
          {...form.register('password')}
        />
        <FormProblem text={form.problem} />
        <Button look="primary" type="submit" className="w-full" busy={isSubmitting && 'Signing in…'}>
          Sign in
        </Button>
      </form>
      <p className="mt-6 text-[0.9375rem] text-muted">
        No account yet?{' '}
        <Link className="link" to={`/register${search}`}>
          Register
        </Link>
      </p>
    </Gatehouse>
  );
}

/// Making an account.
import { Link, useLocation } from 'react-router';
import { object } from 'valibot';
import { client } from '../app/client.ts';
import { emailAddress, newPassword, username } from '../lib/fields.ts';
import { Button } from '../ui/Button.tsx';
import { Field, FormProblem } from '../ui/Field.tsx';
import { useServerForm } from '../ui/useServerForm.ts';
import { Gatehouse } from './Gatehouse.tsx';

const schema = object({ username, email: emailAddress, password: newPassword });

export function Register() {
  const { search } = useLocation();
  const form = useServerForm(schema, { username: '', email: '', password: '' });
  const { isSubmitting } = form.formState;

  const submit = form.submitting(async (values) => {
    await client.signIn('/api/auth/register', values);
  });

  return (
    <Gatehouse title="Register" heading="Make an account" opening={isSubmitting}>
      <form noValidate onSubmit={submit} className="space-y-5">
        <Field
          label="Username"
          autoComplete="username"
          autoCapitalize="none"
          autoCorrect="off"
          spellCheck={false}
          error={form.message('username')}
          {...form.register('username')}
        />
        <Field
          label="Email"
          type="email"
          autoComplete="email"
          error={form.message('email')}
          {...form.register('email')}
        />
        <Field
          label="Password"
          type="password"
          autoComplete="new-password"
          hint="At least 8 characters. A few words are easier to keep in mind than a few symbols."
          error={form.message('password')}
          {...form.register('password')}
        />
        <FormProblem text={form.problem} />
        <Button look="primary" type="submit" className="w-full" busy={isSubmitting && 'Making your account…'}>
          Make the account
        </Button>
      </form>
      <p className="mt-6 text-[0.9375rem] text-muted">
        You have one?{' '}
        <Link className="link" to={`/login${search}`}>
          Sign in
        </Link>
      </p>
    </Gatehouse>
  );
}

/// Username and email; another email needs the password.
import { useWatch } from 'react-hook-form';
import { check, forward, object, pipe, string } from 'valibot';
import { useChangeMeMutation, type User } from '../../app/api.ts';
import { noticed, useAppDispatch } from '../../app/store.ts';
import { emailAddress, username } from '../../lib/fields.ts';
import { Button } from '../../ui/Button.tsx';
import { Field, FormProblem } from '../../ui/Field.tsx';
import { useServerForm } from '../../ui/useServerForm.ts';

const schema = (email: string) =>
  pipe(
    object({ username, email: emailAddress, current_password: string() }),
    forward(
      check(
        (form) => form.email === email || form.current_password !== '',
        'Enter your password to change your email.',
      ),
      ['current_password'],
    ),
  );

export function Details({ me }: { me: User }) {
  const dispatch = useAppDispatch();
  const [change] = useChangeMeMutation();
  const form = useServerForm(schema(me.email), {
    username: me.username,
    email: me.email,
    current_password: '',
  });
  const { isSubmitting, isDirty } = form.formState;
  const email = useWatch({ control: form.control, name: 'email' });
  const otherEmail = email !== me.email;

  const submit = form.submitting(async (values) => {
    const password = values.email === me.email ? {} : { current_password: values.current_password };
    await change({ username: values.username, email: values.email, ...password }).unwrap();
    dispatch(noticed({ kind: 'done', text: 'Your account has been changed.' }));
    form.reset({ username: values.username, email: values.email, current_password: '' });
  });

  return (
    <form noValidate onSubmit={submit} className="max-w-md space-y-5">
      <Field
        label="Username"
        autoComplete="username"
        autoCapitalize="none"
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
      {otherEmail && (
        <Field
          label="Your password"
          type="password"
          autoComplete="current-password"
          hint="Asked for because the email address changes."
          error={form.message('current_password')}
          {...form.register('current_password')}
        />
      )}
      <FormProblem text={form.problem} />
      <Button look={isDirty ? 'primary' : 'quiet'} type="submit" busy={isSubmitting && 'Saving…'}>
        Save changes
      </Button>
    </form>
  );
}

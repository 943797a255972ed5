/// Changing the password.
import { object } from 'valibot';
import { useChangePasswordMutation } from '../../app/api.ts';
import { noticed, useAppDispatch } from '../../app/store.ts';
import { currentPassword, newPassword } from '../../lib/fields.ts';
import { Button } from '../../ui/Button.tsx';
import { Field, FormProblem } from '../../ui/Field.tsx';
import { useServerForm } from '../../ui/useServerForm.ts';

const schema = object({ current_password: currentPassword, new_password: newPassword });
const EMPTY = { current_password: '', new_password: '' };

export function Password({ username }: { username: string }) {
  const dispatch = useAppDispatch();
  const [change] = useChangePasswordMutation();
  const form = useServerForm(schema, EMPTY);
  const { isSubmitting } = form.formState;

  const submit = form.submitting(async (values) => {
    await change(values).unwrap();
    form.reset(EMPTY);
    dispatch(
      noticed({ kind: 'done', text: 'Your password has been changed. Your other devices are signed out.' }),
    );
  });

  return (
    <form noValidate onSubmit={submit} className="max-w-md space-y-5">
      {/* For password managers, which want to know whose password it is. */}
      <input type="text" autoComplete="username" value={username} readOnly hidden />
      <Field
        label="Current password"
        type="password"
        autoComplete="current-password"
        error={form.message('current_password')}
        {...form.register('current_password')}
      />
      <Field
        label="New password"
        type="password"
        autoComplete="new-password"
        hint="At least 8 characters."
        error={form.message('new_password')}
        {...form.register('new_password')}
      />
      <FormProblem text={form.problem} />
      <Button type="submit" busy={isSubmitting && 'Changing…'}>
        Change the password
      </Button>
    </form>
  );
}

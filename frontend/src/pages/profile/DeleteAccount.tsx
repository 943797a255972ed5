/// Deleting one's own account, asked twice and with the password.
import { useState } from 'react';
import { object } from 'valibot';
import { client } from '../../app/client.ts';
import { DELETED } from '../../lib/ending.ts';
import { currentPassword } from '../../lib/fields.ts';
import { Button } from '../../ui/Button.tsx';
import { Dialog } from '../../ui/Dialog.tsx';
import { Field, FormProblem } from '../../ui/Field.tsx';
import { useServerForm } from '../../ui/useServerForm.ts';

const schema = object({ current_password: currentPassword });

export function DeleteAccount() {
  const [asking, setAsking] = useState(false);
  return (
    <>
      <Button look="danger" onClick={() => setAsking(true)}>
        Delete my account…
      </Button>
      {asking && (
        <Dialog title="Delete your account?" close={() => setAsking(false)}>
          <Confirmation close={() => setAsking(false)} />
        </Dialog>
      )}
    </>
  );
}

function Confirmation({ close }: { close: () => void }) {
  const form = useServerForm(schema, { current_password: '' });
  const { isSubmitting } = form.formState;
  const submit = form.submitting(async (values) => {
    await client.endSession({ cause: 'request', notice: DELETED }, () =>
      client.json('/api/auth/me', { method: 'DELETE', json: values }),
    );
  });
  return (
    <form noValidate onSubmit={submit} className="space-y-5">
      <p>Your account and all its sessions will be gone, and nobody can bring them back.</p>
      <Field
        label="Your password"
        type="password"
        autoComplete="current-password"
        error={form.message('current_password')}
        {...form.register('current_password')}
      />
      <FormProblem text={form.problem} />
      <div className="flex flex-wrap justify-end gap-3">
        <Button onClick={close}>Keep it</Button>
        <Button look="danger" type="submit" busy={isSubmitting && 'Deleting…'}>
          Delete my account
        </Button>
      </div>
    </form>
  );
}

/// One account in an administrator's hands.
import { useState } from 'react';
import { boolean, object, string } from 'valibot';
import { useChangeUserMutation, useRemoveUserMutation, type User } from '../../app/api.ts';
import { toProblem } from '../../app/problem.ts';
import { noticed, useAppDispatch } from '../../app/store.ts';
import { parseRoles } from '../../lib/roles.ts';
import { atMoment } from '../../lib/times.ts';
import { Button } from '../../ui/Button.tsx';
import { Dialog } from '../../ui/Dialog.tsx';
import { Field, FormProblem } from '../../ui/Field.tsx';
import { focusTitle } from '../../ui/Page.tsx';
import { Toggle } from '../../ui/Toggle.tsx';
import { useServerForm } from '../../ui/useServerForm.ts';

const schema = object({
  is_active: boolean(),
  is_staff: boolean(),
  is_superuser: boolean(),
  roles: string(),
});

interface Props {
  user: User;
  /** Whether it is one's own account, of which some things cannot be taken away. */
  self: boolean;
  close: () => void;
}

export function ManageUser({ user, self, close }: Props) {
  const [removing, setRemoving] = useState(false);
  return (
    <Dialog title={removing ? `Delete ${user.username}?` : user.username} close={close}>
      {removing ? (
        <Removal user={user} close={close} back={() => setRemoving(false)} />
      ) : (
        <Changes user={user} self={self} close={close} remove={() => setRemoving(true)} />
      )}
    </Dialog>
  );
}

function Changes({ user, self, close, remove }: Props & { remove: () => void }) {
  const dispatch = useAppDispatch();
  const [change] = useChangeUserMutation();
  const { is_active, is_staff, is_superuser } = user;
  const form = useServerForm(schema, { is_active, is_staff, is_superuser, roles: user.roles.join(', ') });
  const { isSubmitting } = form.formState;

  const submit = form.submitting(async (values) => {
    await change({ id: user.id, ...values, roles: parseRoles(values.roles) }).unwrap();
    dispatch(noticed({ kind: 'done', text: `${user.username} has been changed.` }));
    close();
  });

  return (
    <form noValidate onSubmit={submit}>
      <p className="-mt-3 mb-5 text-sm break-words text-muted">
        {user.email}, since {atMoment(user.created)}
      </p>
      <fieldset className="space-y-4">
        <legend className="sr-only">What this account may do</legend>
        <Toggle
          label="Active"
          hint="Without it, all sessions end and nobody can sign in."
          disabled={self}
          error={form.message('is_active')}
          {...form.register('is_active')}
        />
        <Toggle label="Staff" error={form.message('is_staff')} {...form.register('is_staff')} />
        <Toggle
          label="Superuser"
          hint="May see and change all accounts."
          disabled={self}
          error={form.message('is_superuser')}
          {...form.register('is_superuser')}
        />
        <Field
          label="Other roles"
          hint="With commas between them. Taking a role away ends the sessions of this account; a new one counts from the next sign-in."
          autoComplete="off"
          autoCapitalize="none"
          spellCheck={false}
          error={form.message('roles')}
          {...form.register('roles')}
        />
      </fieldset>
      <div className="mt-5">
        <FormProblem text={form.problem} />
      </div>
      <div className="mt-6 flex flex-wrap gap-3">
        {!self && (
          <Button look="danger" className="mr-auto" onClick={remove}>
            Delete…
          </Button>
        )}
        <Button className={self ? 'ml-auto' : ''} onClick={close}>
          Cancel
        </Button>
        <Button look="primary" type="submit" busy={isSubmitting && 'Saving…'}>
          Save
        </Button>
      </div>
    </form>
  );
}

function Removal({ user, close, back }: { user: User; close: () => void; back: () => void }) {
  const dispatch = useAppDispatch();
  const [remove, { isLoading, error }] = useRemoveUserMutation();
  const confirm = async () => {
    const { error: failure } = await remove(user.id);
    if (failure) return;
    dispatch(noticed({ kind: 'done', text: `${user.username} has been deleted.` }));
    close();
    focusTitle();
  };
  return (
    <>
      <p className="mb-5">
        The account {user.email} and all its sessions will be gone, and nobody can bring them back.
      </p>
      <FormProblem text={error ? toProblem(error).detail : undefined} />
      <div className="mt-6 flex flex-wrap justify-end gap-3">
        <Button onClick={back}>Keep it</Button>
        <Button look="danger" busy={isLoading && 'Deleting…'} onClick={() => void confirm()}>
          Delete the account
        </Button>
      </div>
    </>
  );
}

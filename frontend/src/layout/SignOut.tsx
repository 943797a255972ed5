/// The button that ends the session, here and in all tabs.
import { useState } from 'react';
import { client } from '../app/client.ts';
import { toProblem } from '../app/problem.ts';
import { noticed, useAppDispatch } from '../app/store.ts';
import { Button } from '../ui/Button.tsx';

export function SignOut() {
  const dispatch = useAppDispatch();
  const [busy, setBusy] = useState(false);
  const signOut = async () => {
    setBusy(true);
    try {
      await client.signOut();
    } catch (error) {
      // This browser still holds the session: saying otherwise would be worse than an error.
      const text = `You are still signed in: signing out did not work. ${toProblem(error).detail}`;
      dispatch(noticed({ kind: 'failed', text }));
    } finally {
      setBusy(false);
    }
  };
  return (
    <Button small busy={busy && 'Signing out…'} onClick={() => void signOut()}>
      Sign out
    </Button>
  );
}

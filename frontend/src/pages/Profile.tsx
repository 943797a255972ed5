/// One's own account: its names, its password, its end.
import { useMeQuery } from '../app/api.ts';
import { Page, Section } from '../ui/Page.tsx';
import { Problem } from '../ui/Problem.tsx';
import { Skeleton } from '../ui/Skeleton.tsx';
import { DeleteAccount } from './profile/DeleteAccount.tsx';
import { Details } from './profile/Details.tsx';
import { Password } from './profile/Password.tsx';

export function Profile() {
  const { data: me, error, isFetching, refetch } = useMeQuery();
  return (
    <Page title="Profile" lead="Who you are here, and how you get in.">
      {me && (
        <>
          <Section title="Account">
            <Details key={`${me.username} ${me.email}`} me={me} />
          </Section>
          <Section
            title="Password"
            lead="A new password signs out all your other devices; this one stays signed in."
          >
            <Password username={me.username} />
          </Section>
          <Section title="Delete the account" lead="This ends all your sessions and cannot be undone.">
            <DeleteAccount />
          </Section>
        </>
      )}
      {!me && error && <Problem error={error} retry={refetch} busy={isFetching} />}
      {!me && !error && <Skeleton lines={4} label="Loading your profile" />}
    </Page>
  );
}

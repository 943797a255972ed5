/// Home: the message of the protected service, and who it was let through for.
import type { ReactNode } from 'react';
import { Link } from 'react-router';
import { useHomeQuery, useMeQuery, type User } from '../app/api.ts';
import { greeting, onDay } from '../lib/times.ts';
import { Badge } from '../ui/Badge.tsx';
import { Gate } from '../ui/Mark.tsx';
import { Page } from '../ui/Page.tsx';
import { Problem } from '../ui/Problem.tsx';
import { Skeleton } from '../ui/Skeleton.tsx';

export function Home() {
  const me = useMeQuery();
  return (
    <Page title="Home" heading={me.data ? `${greeting()}, ${me.data.username}` : greeting()}>
      <Message />
      {me.data && <Account user={me.data} />}
      {me.error && !me.data && <Problem error={me.error} retry={me.refetch} busy={me.isFetching} />}
    </Page>
  );
}

function Message() {
  const { data, error, isFetching, refetch } = useHomeQuery();
  if (error) return <Problem error={error} retry={refetch} busy={isFetching} />;
  if (!data) return <Skeleton lines={2} label="Loading the message" />;
  return (
    <section
      aria-label="The protected message"
      className="card mt-6 grid overflow-hidden sm:grid-cols-[1fr_13rem]"
    >
      <div className="p-6 sm:p-9">
        <p className="eyebrow">From behind the gate</p>
        <p className="display mt-3 text-2xl leading-snug text-pretty wrap-anywhere sm:text-[1.7rem]">
          {data.message}
        </p>
        <p className="mt-5 max-w-prose text-sm text-muted">
          This is the answer of a protected service. The gateway looked at your access token, found it good,
          and let the request through.
        </p>
      </div>
      <div className="hidden items-end justify-center bg-[#1c3b3b] px-6 pt-8 sm:flex">
        <Gate open className="w-full" />
      </div>
    </section>
  );
}

function Account({ user }: { user: User }) {
  return (
    <section aria-label="Your account" className="mt-6 grid gap-4 sm:grid-cols-3">
      <Tile title="Signed in as" to="/profile" link="Edit your profile">
        <p className="truncate font-semibold">{user.username}</p>
        <p className="truncate text-sm text-muted">{user.email}</p>
      </Tile>
      <Tile title="Member since" to="/sessions" link="See your devices">
        <p className="font-semibold">{onDay(user.created)}</p>
        <p className="text-sm text-muted">Last changed {onDay(user.updated)}</p>
      </Tile>
      <Tile title="Roles" {...(user.is_superuser ? { to: '/users', link: 'Look after users' } : {})}>
        <p className="flex flex-wrap gap-1.5">
          {user.is_superuser && <Badge look="brass">Superuser</Badge>}
          {user.is_staff && <Badge look="accent">Staff</Badge>}
          {user.roles.map((role) => (
            <Badge key={role}>{role}</Badge>
          ))}
          {!user.is_superuser && !user.is_staff && user.roles.length === 0 && (
            <span className="text-sm text-muted">None besides your own account</span>
          )}
        </p>
      </Tile>
    </section>
  );
}

function Tile(props: { title: string; to?: string; link?: string; children: ReactNode }) {
  return (
    <div className="card flex flex-col p-5">
      <h2 className="mb-2 text-sm font-medium text-muted">{props.title}</h2>
      <div className="grow">{props.children}</div>
      {props.to !== undefined && (
        <Link className="link mt-4 self-start text-sm" to={props.to}>
          {props.link}
        </Link>
      )}
    </div>
  );
}

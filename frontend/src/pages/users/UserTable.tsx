/// Accounts as a table; on a phone as a list of cards.
import type { User } from '../../app/api.ts';
import { ago, onDay } from '../../lib/times.ts';
import { Badge } from '../../ui/Badge.tsx';
import { Button } from '../../ui/Button.tsx';

interface Props {
  users: readonly User[];
  me: User;
  loading: boolean;
  manage: (id: string) => void;
}

export function UserTable({ users, me, loading, manage }: Props) {
  return (
    <div
      className={`card mt-6 overflow-hidden transition-opacity ${loading ? 'opacity-60' : ''}`}
      aria-busy={loading}
    >
      <table className="block w-full text-left text-[0.9375rem] md:table">
        <caption className="sr-only">Users</caption>
        <thead className="hidden text-sm text-muted md:table-header-group">
          <tr className="border-b border-line">
            <th scope="col" className="py-3 pr-3 pl-5 font-medium">
              User
            </th>
            <th scope="col" className="px-3 py-3 font-medium">
              State and roles
            </th>
            <th scope="col" className="px-3 py-3 font-medium">
              Since
            </th>
            <th scope="col" className="px-3 py-3 font-medium">
              Changed
            </th>
            <th scope="col" className="py-3 pr-5 pl-3">
              <span className="sr-only">Actions</span>
            </th>
          </tr>
        </thead>
        <tbody className="block divide-y divide-line md:table-row-group">
          {users.map((user) => (
            <Row key={user.id} user={user} self={user.id === me.id} manage={manage} />
          ))}
        </tbody>
      </table>
    </div>
  );
}

function Row({ user, self, manage }: { user: User; self: boolean; manage: (id: string) => void }) {
  return (
    <tr className="grid grid-cols-[1fr_auto] gap-x-3 gap-y-2 p-4 md:table-row md:p-0">
      <th
        scope="row"
        className="col-start-1 row-start-1 min-w-0 text-left font-normal md:max-w-64 md:py-3.5 md:pr-3 md:pl-5"
      >
        <span className="block truncate font-semibold">{user.username}</span>
        <span className="block truncate text-sm text-muted">{user.email}</span>
      </th>
      <td className="col-span-2 row-start-2 md:px-3 md:py-3.5">
        <span className="flex flex-wrap gap-1.5">
          {self && <Badge>You</Badge>}
          {!user.is_active && <Badge look="danger">Deactivated</Badge>}
          {user.is_superuser && <Badge look="brass">Superuser</Badge>}
          {user.is_staff && <Badge look="accent">Staff</Badge>}
          {user.roles.map((role) => (
            <Badge key={role}>{role}</Badge>
          ))}
          {user.is_active && !user.is_superuser && !user.is_staff && user.roles.length === 0 && !self && (
            <span className="text-sm text-muted">Active</span>
          )}
        </span>
      </td>
      <td className="hidden text-sm whitespace-nowrap text-muted md:table-cell md:px-3">
        <time dateTime={user.created}>{onDay(user.created)}</time>
      </td>
      <td className="hidden text-sm whitespace-nowrap text-muted md:table-cell md:px-3">
        <time dateTime={user.updated}>{ago(user.updated)}</time>
      </td>
      <td className="col-start-2 row-start-1 md:py-3.5 md:pr-5 md:pl-3 md:text-right">
        <Button small aria-label={`Manage ${user.username}`} onClick={() => manage(user.id)}>
          Manage
        </Button>
      </td>
    </tr>
  );
}

/// Where one is signed in: end one session, or all others.
import {
  useDevicesQuery,
  useEndDeviceMutation,
  useEndOtherDevicesMutation,
  type Device,
} from '../app/api.ts';
import { client } from '../app/client.ts';
import { toProblem } from '../app/problem.ts';
import { noticed, useAppDispatch } from '../app/store.ts';
import { ago, ahead, atMoment } from '../lib/times.ts';
import { describeDevice } from '../lib/userAgent.ts';
import { Badge } from '../ui/Badge.tsx';
import { Button } from '../ui/Button.tsx';
import { DeviceIcon } from '../ui/DeviceIcon.tsx';
import { Page, focusTitle } from '../ui/Page.tsx';
import { Problem } from '../ui/Problem.tsx';
import { Skeleton } from '../ui/Skeleton.tsx';

export function Devices() {
  const {
    data: devices,
    error,
    isFetching,
    refetch,
  } = useDevicesQuery(undefined, { refetchOnMountOrArgChange: true });
  return (
    <Page
      title="Devices"
      lead="Where you are signed in. What you do not know, sign out, and change your password."
    >
      {devices && <List devices={devices} />}
      {!devices && error && <Problem error={error} retry={refetch} busy={isFetching} />}
      {!devices && !error && <Skeleton label="Loading your devices" />}
    </Page>
  );
}

function List({ devices }: { devices: readonly Device[] }) {
  const dispatch = useAppDispatch();
  const [endOthers, { isLoading }] = useEndOtherDevicesMutation();
  const others = devices.filter((device) => !device.current).length;

  const signOutOthers = async () => {
    try {
      await endOthers().unwrap();
      focusTitle();
      dispatch(noticed({ kind: 'done', text: 'All your other devices are signed out.' }));
    } catch (error) {
      dispatch(noticed({ kind: 'failed', text: toProblem(error).detail }));
    }
  };

  return (
    <>
      <ul className="card mt-6 divide-y divide-line">
        {devices.map((device) => (
          <Entry key={device.id} device={device} />
        ))}
      </ul>
      {others === 0 ? (
        <p className="mt-5 text-muted">You are signed in nowhere else.</p>
      ) : (
        <Button
          look="danger"
          className="mt-5 self-start"
          busy={isLoading && 'Signing out…'}
          onClick={() => void signOutOthers()}
        >
          {others === 1 ? 'Sign out the other device' : `Sign out the ${others} other devices`}
        </Button>
      )}
    </>
  );
}

function Entry({ device }: { device: Device }) {
  const dispatch = useAppDispatch();
  const [end, { isLoading }] = useEndDeviceMutation();
  const { name, kind } = describeDevice(device.user_agent);

  const signOut = async () => {
    try {
      if (device.current) {
        await client.signOut();
        return;
      }
      await end(device.id).unwrap();
      focusTitle();
      dispatch(noticed({ kind: 'done', text: `${name} is signed out.` }));
    } catch (error) {
      dispatch(noticed({ kind: 'failed', text: toProblem(error).detail }));
    }
  };

  return (
    <li className="grid grid-cols-[auto_1fr] items-start gap-x-4 gap-y-3 p-4 sm:grid-cols-[auto_1fr_auto] sm:items-center sm:px-6 sm:py-5">
      <DeviceIcon kind={kind} />
      <div className="min-w-0">
        <p className="flex flex-wrap items-center gap-x-2.5 gap-y-1 font-semibold">
          <span title={device.user_agent ?? undefined}>{name}</span>
          {device.current && <Badge look="accent">This device</Badge>}
        </p>
        <p className="mt-0.5 text-sm text-muted">
          Active <time dateTime={device.last_used}>{ago(device.last_used)}</time>
          {device.ip !== null && <> from {device.ip}</>}
        </p>
        <p className="text-sm text-muted">
          Signed in <time dateTime={device.created}>{atMoment(device.created)}</time>. Unused, it ends by
          itself <time dateTime={device.expires}>{ahead(device.expires)}</time>.
        </p>
      </div>
      <Button
        small
        className="col-start-2 justify-self-start sm:col-start-3"
        busy={isLoading && 'Signing out…'}
        aria-label={`Sign out ${name}`}
        onClick={() => void signOut()}
      >
        Sign out
      </Button>
    </li>
  );
}

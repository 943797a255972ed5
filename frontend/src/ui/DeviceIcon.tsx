/// What kind of thing a session is used on. Decorative: its name is beside it.
import type { Device } from '../lib/userAgent.ts';

const SHAPES: Record<Device['kind'], string> = {
  computer: 'M5 5.5h14v9.5H5zM2.5 18.5h19',
  phone: 'M7.5 2.5h9v19h-9zM11 18.5h2',
  program: 'M3 5h18v14H3zM6.5 9.5l3 2.5-3 2.5M12 15h5',
};

export function DeviceIcon({ kind }: { kind: Device['kind'] }) {
  return (
    <span className="flex size-11 shrink-0 items-center justify-center rounded-xl bg-accent-soft">
      <svg
        viewBox="0 0 24 24"
        className="size-6 stroke-accent"
        fill="none"
        strokeWidth="1.6"
        strokeLinecap="round"
        strokeLinejoin="round"
        aria-hidden="true"
        focusable="false"
      >
        <path d={SHAPES[kind]} />
      </svg>
    </span>
  );
}

/// The portcullis: as a small mark, and as the gate that opens.

/** The mark beside the name. Decorative: the name says it. */
export function Mark({ className = 'size-8' }: { className?: string }) {
  return (
    <svg
      viewBox="0 0 32 32"
      className={className}
      aria-hidden="true"
      focusable="false"
      fill="none"
      strokeLinecap="round"
    >
      <path d="M5 28.5V15.5a11 11 0 0 1 22 0v13" className="stroke-accent" strokeWidth="2.8" />
      <path
        d="M11 11.5V26M16 9.5V28M21 11.5V26M8.6 15.5h14.8M8.6 21.5h14.8"
        className="stroke-brass"
        strokeWidth="2"
      />
    </svg>
  );
}

const BARS = [92, 126, 160, 194, 228];
const RAILS = [150, 200, 250, 300];

/** An archway at dusk, its gate down or up. Decorative. */
export function Gate({ open, className = '' }: { open: boolean; className?: string }) {
  return (
    <svg
      viewBox="0 0 320 400"
      className={className}
      aria-hidden="true"
      focusable="false"
      preserveAspectRatio="xMidYMax meet"
    >
      <defs>
        <clipPath id="arch">
          <path d="M64 400V176a96 96 0 0 1 192 0v224z" />
        </clipPath>
        <linearGradient id="dusk" x1="0" y1="0" x2="0" y2="1">
          <stop offset="0" stopColor="#123b3c" />
          <stop offset=".55" stopColor="#3d7a70" />
          <stop offset=".78" stopColor="#e3b565" />
          <stop offset="1" stopColor="#f4dfb0" />
        </linearGradient>
      </defs>
      <g clipPath="url(#arch)">
        <rect width="320" height="400" fill="url(#dusk)" />
        <circle cx="160" cy="318" r="34" fill="#fbeecb" />
        <path d="M0 338q70-34 130-12t120-14 90 20v68H0z" fill="#2c5a52" />
        <path d="M0 366q90-26 170-6t170-10v50H0z" fill="#1b3f3c" />
        <path d="M138 400q14-30 20-48h6q8 18 26 48z" fill="#e8cd93" />
        <g
          className={open ? 'portcullis portcullis-raised' : 'portcullis'}
          fill="none"
          stroke="#0b1317"
          strokeLinecap="round"
        >
          {RAILS.map((y) => (
            <path key={y} d={`M56 ${y}h208`} strokeWidth="7" />
          ))}
          <path d="M56 100h208" strokeWidth="7" />
          {BARS.map((x) => (
            <path key={x} d={`M${x} 60V352`} strokeWidth="9" />
          ))}
          {BARS.map((x) => (
            <path
              key={x}
              d={`M${x - 7} 346h14l-7 26z`}
              fill="#0b1317"
              strokeWidth="2"
              strokeLinejoin="round"
            />
          ))}
          <g fill="#c79a45" stroke="none">
            {BARS.flatMap((x) => RAILS.map((y) => <circle key={`${x} ${y}`} cx={x} cy={y} r="3" />))}
          </g>
        </g>
      </g>
      <path
        d="M50 400V176a110 110 0 0 1 220 0v224"
        fill="none"
        stroke="#d8ccb4"
        strokeWidth="24"
        strokeDasharray="40 3.2"
      />
      <path d="M64 400V176a96 96 0 0 1 192 0v224" fill="none" stroke="#8f8470" strokeWidth="3" />
      <path d="M146 50h28l8 34h-44z" fill="#efe5d0" stroke="#8f8470" strokeWidth="2" />
    </svg>
  );
}

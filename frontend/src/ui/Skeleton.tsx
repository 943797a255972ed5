/// What stands where data will be.

export function Skeleton({ lines = 3, label }: { lines?: number; label: string }) {
  return (
    <div role="status" className="mt-6 space-y-3">
      <span className="sr-only">{label}</span>
      {Array.from({ length: lines }, (_, line) => (
        <div key={line} className="skeleton appear-late h-16" />
      ))}
    </div>
  );
}

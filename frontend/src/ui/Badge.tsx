/// A word about something.
export function Badge({ look, children }: { look?: 'accent' | 'brass' | 'danger'; children: string }) {
  return <span className={`badge ${look === undefined ? '' : `badge-${look}`}`}>{children}</span>;
}

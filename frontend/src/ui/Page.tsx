/// What every page has: a title, which takes the focus when one arrives from another page.
import { useEffect, useRef, type ReactNode } from 'react';

interface Props {
  title: string;
  /** What the heading says, when it is not the title. */
  heading?: ReactNode;
  lead?: ReactNode;
  children?: ReactNode;
}

/** Gives the focus to the title, when what had it is about to go. */
export function focusTitle(): void {
  document.querySelector('h1')?.focus();
}

/** The first page of a visit leaves the focus to the browser; those that come after it take it. */
let isFirst = true;

export function Page({ title, heading = title, lead, children }: Props) {
  const headline = useRef<HTMLHeadingElement>(null);
  useEffect(() => {
    if (!isFirst) headline.current?.focus();
    isFirst = false;
  }, []);
  return (
    <>
      <title>{`${title} · Portcullis`}</title>
      <h1 ref={headline} tabIndex={-1} className="display text-3xl sm:text-4xl">
        {heading}
      </h1>
      {lead !== undefined && <p className="mt-2 max-w-prose text-muted">{lead}</p>}
      {children}
    </>
  );
}

/** A part of a page, with its heading. */
export function Section({ title, lead, children }: { title: string; lead?: ReactNode; children: ReactNode }) {
  return (
    <section className="card mt-6 p-5 sm:p-7" aria-label={title}>
      <h2 className="display text-xl">{title}</h2>
      {lead !== undefined && <p className="mt-1 max-w-prose text-sm text-muted">{lead}</p>}
      <div className="mt-5">{children}</div>
    </section>
  );
}

/// A modal dialog: the browser's own, which keeps the focus inside and gives it back.
import { useEffect, useId, useRef, type ReactNode } from 'react';

interface Props {
  title: string;
  close: () => void;
  children: ReactNode;
}

/** Open as long as it is there. */
export function Dialog({ title, close, children }: Props) {
  const dialog = useRef<HTMLDialogElement>(null);
  const headline = useRef<HTMLHeadingElement>(null);
  const id = useId();
  useEffect(() => {
    const element = dialog.current;
    element?.showModal();
    return () => element?.close();
  }, []);
  const shown = useRef(title);
  useEffect(() => {
    // What was pressed to get here may be gone: the next question begins at its title.
    if (shown.current !== title) headline.current?.focus();
    shown.current = title;
  }, [title]);
  return (
    <dialog
      ref={dialog}
      aria-labelledby={id}
      onCancel={(event) => {
        event.preventDefault();
        close();
      }}
      className="card m-auto max-h-[calc(100dvh-2rem)] w-[min(30rem,calc(100vw-2rem))] overflow-y-auto p-5 text-ink shadow-2xl sm:p-7"
    >
      <h2 ref={headline} id={id} tabIndex={-1} className="display text-2xl">
        {title}
      </h2>
      <div className="mt-4">{children}</div>
    </dialog>
  );
}

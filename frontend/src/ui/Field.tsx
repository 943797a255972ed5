/// A labelled input with its hint and its message.
import { useId, useState, type ComponentProps, type ReactNode } from 'react';

interface Props extends Omit<ComponentProps<'input'>, 'id' | 'className'> {
  label: string;
  hint?: ReactNode;
  error?: string | undefined;
}

export function Field({ label, hint, error, type = 'text', ...input }: Props) {
  const id = useId();
  const [shown, setShown] = useState(false);
  const secret = type === 'password';
  const describedBy = [error && `${id}-error`, hint && `${id}-hint`].filter(Boolean).join(' ');
  return (
    <div className="grid grid-cols-[1fr_auto] items-baseline gap-x-4">
      <label htmlFor={id} className="mb-1.5 text-sm font-semibold">
        {label}
      </label>
      <input
        {...input}
        id={id}
        type={secret && shown ? 'text' : type}
        className="input col-span-2 row-start-2"
        aria-invalid={error !== undefined}
        aria-describedby={describedBy === '' ? undefined : describedBy}
        {...(secret || type === 'email'
          ? { autoCapitalize: 'none', autoCorrect: 'off', spellCheck: false }
          : {})}
      />
      {/* After the input, so that the way from field to field does not lead over it. */}
      {secret && (
        <button
          type="button"
          className="link col-start-2 row-start-1 text-sm"
          aria-pressed={shown}
          aria-controls={id}
          aria-label={`Show ${label.toLowerCase()}`}
          onClick={() => setShown(!shown)}
        >
          {shown ? 'Hide' : 'Show'}
        </button>
      )}
      {error !== undefined && (
        <p id={`${id}-error`} className="col-span-2 mt-1.5 text-sm font-medium text-danger">
          {error}
        </p>
      )}
      {hint !== undefined && (
        <p id={`${id}-hint`} className="col-span-2 mt-1.5 text-sm text-muted">
          {hint}
        </p>
      )}
    </div>
  );
}

/** What concerns a form as a whole; read out when it appears. */
export function FormProblem({ text }: { text: string | undefined }) {
  return (
    <div role="alert">
      {text !== undefined && (
        <p className="rounded-lg border border-danger bg-danger-soft px-4 py-3 text-sm font-medium text-danger">
          {text}
        </p>
      )}
    </div>
  );
}

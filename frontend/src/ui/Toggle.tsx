/// A checkbox with its label and what it means.
import { useId, type ComponentProps } from 'react';

interface Props extends Omit<ComponentProps<'input'>, 'id' | 'className' | 'type'> {
  label: string;
  hint?: string;
  error?: string | undefined;
}

export function Toggle({ label, hint, error, disabled, ...input }: Props) {
  const id = useId();
  const about = hint === undefined && error === undefined ? undefined : `${id}-about`;
  return (
    <div className="grid grid-cols-[auto_1fr] gap-x-3">
      <input
        {...input}
        id={id}
        type="checkbox"
        // Not `disabled`, which would leave the value out of the form.
        aria-disabled={disabled}
        onClick={(event) => {
          if (disabled === true) event.preventDefault();
        }}
        className="mt-1 size-4.5 aria-disabled:opacity-50"
        aria-invalid={error !== undefined}
        aria-describedby={about}
      />
      <label htmlFor={id} className="font-medium">
        {label}
      </label>
      {about !== undefined && (
        <p
          id={about}
          className={`col-start-2 text-sm ${error === undefined ? 'text-muted' : 'font-medium text-danger'}`}
        >
          {error ?? (disabled === true ? 'You cannot change this for yourself.' : hint)}
        </p>
      )}
    </div>
  );
}

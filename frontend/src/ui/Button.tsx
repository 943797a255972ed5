/// A button that can be busy.
import type { ComponentProps } from 'react';

interface Props extends Omit<ComponentProps<'button'>, 'type'> {
  type?: 'button' | 'submit';
  look?: 'primary' | 'quiet' | 'danger';
  small?: boolean;
  /** What it says while it works; it keeps the focus, but pressing it does nothing. */
  busy?: string | false;
}

export function Button({ look = 'quiet', small = false, busy = false, type = 'button', ...props }: Props) {
  const { className = '', children, onClick, ...rest } = props;
  const isBusy = busy !== false;
  return (
    <button
      {...rest}
      type={type}
      className={`button button-${look} ${small ? 'button-small' : ''} ${className}`}
      aria-disabled={isBusy || undefined}
      onClick={(event) => {
        if (isBusy) event.preventDefault();
        else onClick?.(event);
      }}
    >
      {isBusy ? busy : children}
    </button>
  );
}

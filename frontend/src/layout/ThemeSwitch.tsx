/// Light, dark, or as the system has it.
import { useState } from 'react';

const KEY = 'portcullis:theme';
const THEMES = { system: 'System', light: 'Light', dark: 'Dark' };
type Theme = keyof typeof THEMES;

export function ThemeSwitch() {
  const [theme, setTheme] = useState<Theme>(() => {
    const chosen = document.documentElement.dataset.theme;
    return chosen === 'light' || chosen === 'dark' ? chosen : 'system';
  });
  const choose = (chosen: Theme) => {
    setTheme(chosen);
    apply(chosen);
  };
  return (
    <fieldset className="flex items-center gap-1 text-sm">
      <legend className="sr-only">Theme</legend>
      {(Object.keys(THEMES) as Theme[]).map((name) => (
        <label
          key={name}
          className="cursor-pointer rounded-full px-3 py-1 text-muted has-checked:bg-hover has-checked:font-semibold has-checked:text-ink has-focus-visible:outline-2 has-focus-visible:outline-accent"
        >
          <input
            type="radio"
            name="theme"
            className="sr-only"
            checked={theme === name}
            onChange={() => choose(name)}
          />
          {THEMES[name]}
        </label>
      ))}
    </fieldset>
  );
}

function apply(theme: Theme): void {
  if (theme === 'system') delete document.documentElement.dataset.theme;
  else document.documentElement.dataset.theme = theme;
  try {
    if (theme === 'system') localStorage.removeItem(KEY);
    else localStorage.setItem(KEY, theme);
  } catch {
    // Without storage it holds until the next load.
  }
}

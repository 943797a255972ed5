// Why here and not in the app: it must run before anything is painted, and no inline script is allowed.
try {
  var theme = localStorage.getItem('portcullis:theme');
  if (theme === 'light' || theme === 'dark') document.documentElement.dataset.theme = theme;
} catch {
  // No storage: the system's theme.
}

/// Roles as people type them.

/** The names between commas or spaces, each once. */
export function parseRoles(text: string): string[] {
  return [...new Set(text.split(/[\s,;]+/).filter((role) => role !== ''))];
}

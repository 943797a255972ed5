/// A device in plain words, as far as its user agent tells.

// The order matters: most browsers claim to be others, too.
const BROWSERS: [RegExp, string][] = [
  [/\bEdg(e|A|iOS)?\//, 'Edge'],
  [/\bOPR\/|\bOpera\b|\bOPT\//, 'Opera'],
  [/\bSamsungBrowser\//, 'Samsung Internet'],
  [/\bVivaldi\//, 'Vivaldi'],
  [/\bFirefox\/|\bFxiOS\//, 'Firefox'],
  [/\bHeadlessChrome\//, 'Headless Chrome'],
  [/\bChromium\//, 'Chromium'],
  [/\bChrome\/|\bCriOS\//, 'Chrome'],
  [/\bSafari\//, 'Safari'],
];

const SYSTEMS: [RegExp, string][] = [
  [/\biPhone\b/, 'iPhone'],
  [/\biPad\b/, 'iPad'],
  [/\bAndroid\b/, 'Android'],
  [/\bCrOS\b/, 'ChromeOS'],
  [/\bWindows\b/, 'Windows'],
  [/\bMacintosh\b|\bMac OS X\b/, 'Mac'],
  [/\bLinux\b|\bX11\b/, 'Linux'],
];

export interface Device {
  readonly name: string;
  readonly kind: 'phone' | 'computer' | 'program';
}

export function describeDevice(userAgent: string | null): Device {
  const agent = userAgent?.trim() ?? '';
  if (agent === '') return { name: 'Unknown device', kind: 'program' };
  if (!agent.startsWith('Mozilla/')) {
    // Programs name themselves first: curl/8.5.0, python-requests/2.31.
    const name = /^[\w.+-]{1,40}/.exec(agent)?.[0];
    return { name: name ?? 'Unknown program', kind: 'program' };
  }
  const browser = BROWSERS.find(([pattern]) => pattern.test(agent))?.[1] ?? 'Unknown browser';
  const system = SYSTEMS.find(([pattern]) => pattern.test(agent))?.[1];
  const phone = system === 'iPhone' || system === 'iPad' || system === 'Android';
  return {
    name: system === undefined ? browser : `${browser} on ${system}`,
    kind: phone ? 'phone' : 'computer',
  };
}

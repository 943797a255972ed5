/// The client of Portcullis for browser apps, without any framework. Copy this folder; its README tells how.
export { PortcullisClient } from './client.ts';
export type { ClientOptions } from './client.ts';
export { ApiError, SignedOutError } from './errors.ts';
export type { RequestOptions } from './http.ts';
export { browser } from './platform.ts';
export type { Channel, Platform } from './platform.ts';
export type { Outage, Snapshot } from './session.ts';
export type { Ending } from './tabs.ts';

/// The one client of this app.
import { PortcullisClient } from '../client/index.ts';

export const client = new PortcullisClient();

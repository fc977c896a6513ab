/**
 * The two parts of undici that the egress needs. Its index brings fetch, WebSockets, caches and mocks as well: some 8 MB of memory, in every thread anew. These paths are not promised; the exact
 * version is, by package.json, and the contract of the egress fails where one of them is another thing.
 */
import { createRequire } from 'node:module';

type Undici = typeof import('undici');

const load = createRequire(import.meta.url);

export const Agent = load('undici/lib/dispatcher/agent.js') as Undici['Agent'];
export const buildConnector = load('undici/lib/core/connect.js') as Undici['buildConnector'];

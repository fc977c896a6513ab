/** The token with which one of our own machines reads the repositories of a build over HTTP. Pure. */
import { createHmac, timingSafeEqual } from 'node:crypto';
import type { Secret } from '../config/secret.ts';

/** For one set of repositories only: who sees it in a log or a tool's settings cannot read another one. `digest`: SHA-256 of the RepositorySet. */
export function repositoryToken(secret: Secret, digest: string): string {
  return createHmac('sha256', secret.reveal()).update(`repositories:${digest}`).digest('base64url');
}

/** `header`: the Authorization header: `Bearer TOKEN`, or `Basic` with the token as password, which is what dnf can send. */
export function bringsRepositoryToken(header: string | undefined, secret: Secret, digest: string): boolean {
  const [, scheme = '', value = ''] = /^(Bearer|Basic) ([\x21-\x7e]{1,1000})$/i.exec(header ?? '') ?? [];
  const given = scheme.toLowerCase() === 'basic' ? (Buffer.from(value, 'base64').toString('latin1').split(':')[1] ?? '') : value;
  const [expected, actual] = [Buffer.from(repositoryToken(secret, digest)), Buffer.from(given)];
  return expected.byteLength === actual.byteLength && timingSafeEqual(expected, actual);
}

/** The record of an RPM that a requester uploaded: whose it is, what it is, how long it is kept. Its bytes are stored content. Pure. */
import { z } from 'zod';
import { derivedId } from '../events/envelope.ts';
import type { Collection, CollectionDefinition } from '../store/store.ts';

export const UploadedRpm = z.object({
  id: z.uuid(),
  owner: z.string().nullable(),
  name: z.string(),
  epoch: z.number().int().nonnegative(),
  version: z.string(),
  release: z.string(),
  arch: z.string(),
  /** As `formatNevra` writes it. */
  nevra: z.string(),
  sha256: z.string().regex(/^[0-9a-f]{64}$/),
  /** Bytes of the file. */
  size: z.number().int().positive(),
  sourceRpm: z.string(),
  summary: z.string().nullable(),
  createdAt: z.iso.datetime(),
  expiresAt: z.iso.datetime(),
  /** Nobody can name it any more; it stands here for as long as a build refers to its bytes. Also how a record begins, until its bytes are stored. */
  removedAt: z.iso.datetime().nullable(),
  /** Milliseconds since 1970: the sweep looks at it then. */
  dueAt: z.number(),
  /** Its bytes were not stored before it came, so they go when nothing refers to it any more. */
  bringsBytes: z.boolean(),
});
export type UploadedRpm = z.infer<typeof UploadedRpm>;

export const uploadedRpmCollection: CollectionDefinition<UploadedRpm> = {
  name: 'uploaded-rpms',
  read: (json) => UploadedRpm.parse(json),
  indexes: {
    byOwner: ({ owner, removedAt, createdAt }) => [owner ?? '', removedAt === null ? 'kept' : 'removed', createdAt],
    byDue: ({ dueAt }) => ['due', dueAt],
    byContent: ({ sha256, id }) => [sha256, id],
  },
};

/** The same bytes of the same owner are the same upload. */
export function uploadId(owner: string | null, sha256: string): string {
  return derivedId('uploaded-rpm', owner ?? '', sha256);
}

/** Whether a new request of this owner may name it. A build that was accepted before keeps it beyond its time. */
export function isUsable(upload: UploadedRpm | undefined, owner: string | null, now: number): upload is UploadedRpm {
  return upload !== undefined && upload.owner === owner && upload.removedAt === null && Date.parse(upload.expiresAt) > now;
}

/** The lookup of an accepted build: what it named stays for it until it has ended, also beyond its time. */
export async function acceptedUploads(
  uploads: Pick<Collection<UploadedRpm>, 'get'>,
  ids: readonly string[],
  owner: string | null,
): Promise<readonly (UploadedRpm | undefined)[]> {
  const found = await Promise.all(ids.map((id) => uploads.get(id)));
  return found.map((each) => (each && each.document.owner === owner && each.document.removedAt === null ? each.document : undefined));
}

/** RPMs that the requester uploaded, as sets for the solver: each is in the image, in the place of whatever else has its name. */
import { SpindleError } from '../build/failure.ts';
import type { SingleBuildRequest } from '../build/request.ts';
import type { UploadedRpm } from '../uploads/uploaded-rpm.ts';
import type { SourceSet } from './source-set.ts';

/** The uploads of these ids that the request may use, in their order; undefined for the others. */
export type FindUploads = (ids: readonly string[]) => Promise<readonly (UploadedRpm | undefined)[]>;

/** Rejects with RPM_UNKNOWN, RPM_ARCH_UNSUPPORTED or REQUESTED_BUILD_CONFLICT. */
export async function uploadedSets({ sources, arch }: Pick<SingleBuildRequest, 'sources' | 'arch'>, findUploads: FindUploads): Promise<readonly SourceSet[]> {
  const ids = [...new Set(sources.rpms)];
  const found = await findUploads(ids);
  const byName = new Map<string, UploadedRpm>();
  return ids.map((id, place): SourceSet => {
    const upload = found[place];
    if (!upload) throw new SpindleError('RPM_UNKNOWN', `sources.rpms: ${unknownUpload(id)}`);
    if (!isForArch(upload, arch)) throw new SpindleError('RPM_ARCH_UNSUPPORTED', `sources.rpms: ${foreignUpload(upload, [arch])}`);
    const other = byName.get(upload.name);
    if (other) {
      throw new SpindleError(
        'REQUESTED_BUILD_CONFLICT',
        `the uploaded RPMs ${other.nevra} (${other.id}) and ${upload.nevra} (${upload.id}) are the same package ${upload.name}; one image holds one of them, so name one of the two`,
      );
    }
    byName.set(upload.name, upload);
    const { name, epoch, version, release, nevra, sha256, size } = upload;
    const because = `The request names the uploaded RPM ${id}.`;
    return {
      label: `uploaded ${nevra}`,
      rule: 'in-image',
      what: `the uploaded RPM ${nevra}`,
      rpms: [{ name, epoch, version, release, arch: upload.arch, sources: [], payloadHash: null, because, uploaded: { sha256, size } }],
      main: [name],
      isUploaded: true,
    };
  });
}

export const isForArch = (upload: Pick<UploadedRpm, 'arch'>, arch: string) => upload.arch === 'noarch' || upload.arch === arch;

export const unknownUpload = (id: string) =>
  `there is no uploaded RPM ${id.slice(0, 64)}: it was deleted, has expired, or was never yours; upload it, and name the id that comes back`;

export const foreignUpload = ({ nevra, arch }: Pick<UploadedRpm, 'nevra' | 'arch'>, arches: readonly string[]) =>
  `the uploaded RPM ${nevra} is for ${arch}, and the image is to be for ${arches.join(', ')}; leave it out, or upload the one for that`;

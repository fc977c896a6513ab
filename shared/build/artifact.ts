/** An artifact: a produced file with its public name, addressed by its content. Pure. */
import { z } from 'zod';

export const Artifact = z.object({
  /** Letters, digits, `.`, `_`, `-`: safe as a file name and in a URL. */
  name: z
    .string()
    .max(128)
    .regex(/^[A-Za-z0-9][A-Za-z0-9._-]*$/),
  sha256: z.string().regex(/^[0-9a-f]{64}$/),
  size: z.number().int().nonnegative(),
  mediaType: z.string().max(128),
});
export type Artifact = z.infer<typeof Artifact>;

/** `CHECKSUM` in the format of Fedora's own: a comment with the size, then a BSD-style line, for each file. */
export function checksumFile(artifacts: readonly Artifact[]): string {
  return artifacts.map(({ name, size, sha256 }) => `# ${name}: ${size} bytes\nSHA256 (${name}) = ${sha256}\n`).join('');
}

/** Later artifacts replace earlier ones of the same name. */
export function mergeArtifacts(earlier: readonly Artifact[], later: readonly Artifact[]): readonly Artifact[] {
  const names = new Set(later.map(({ name }) => name));
  return [...earlier.filter(({ name }) => !names.has(name)), ...later];
}

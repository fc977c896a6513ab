/** Whether a package may be used with the signature that it has. Pure. */
import { SpindleError } from '../../shared/build/failure.ts';
import type { Release } from '../../shared/releases/releases.ts';
import type { ResolvedPackage } from '../../shared/resolution/resolution.ts';
import type { SignatureVerdict } from '../../shared/rpm/checksig.ts';

export interface SignatureRules extends Pick<Release, 'name' | 'unsigned'> {
  /** False where a requester's own repository names no key: then a signature says nothing. */
  readonly hasKeys: boolean;
  /** Whether this service takes uploaded RPMs at all. */
  readonly takesUploads: boolean;
}

/**
 * The key that signed it, or null where nobody did and that is allowed. An upload is its requester's own word, so neither who signed it nor that nobody did matters. Throws UNTRUSTED_CODE_REFUSED, PACKAGE_UNSIGNED, PACKAGE_WRONGLY_SIGNED or PACKAGE_DIGEST_MISMATCH.
 */
export function acceptSignature(
  rpm: Pick<ResolvedPackage, 'nevra' | 'from' | 'repository' | 'untrusted'>,
  verdict: SignatureVerdict,
  rules: SignatureRules,
): string | null {
  const { nevra, from, repository } = rpm;
  if (rpm.untrusted) {
    if (!rules.takesUploads) {
      throw new SpindleError(
        'UNTRUSTED_CODE_REFUSED',
        `${nevra} was uploaded, and this service takes uploaded RPMs no more; its operator has to put rpms into SPINDLE_UNTRUSTED_CODE`,
      );
    }
    if (verdict.kind === 'broken')
      throw new SpindleError('PACKAGE_WRONGLY_SIGNED', `the uploaded ${nevra} has a signature or digest that is wrong: ${verdict.line}`);
    return verdict.kind === 'signed' ? verdict.key : null;
  }
  const place = repository === 'koji' ? 'Koji' : `the repository ${repository}`;
  if (verdict.kind === 'broken') throw new SpindleError('PACKAGE_DIGEST_MISMATCH', `${nevra} from ${place} is not what was built: ${verdict.line}`);
  if (verdict.kind === 'signed') return verdict.key;
  if (verdict.kind === 'unknown-key' && rules.hasKeys) {
    throw new SpindleError(
      'PACKAGE_WRONGLY_SIGNED',
      `${nevra} from ${place} is signed with the key ${verdict.key}, which is none of ${from === 'stable' || repository === 'koji' ? rules.name : 'the keys that are trusted for it'}; leave the package out, or tell those who publish it`,
    );
  }
  if (rules.unsigned === 'allow' || (rules.unsigned === 'side-repo' && from === 'side')) return null;
  const takes = rules.unsigned === 'side-repo' ? 'takes unsigned packages into the side repository only' : 'takes signed packages only';
  const advice = rules.hasKeys ? 'leave it out, or wait until it is signed' : 'name the gpgkey of that repository';
  throw new SpindleError('PACKAGE_UNSIGNED', `${nevra} from ${place} is not signed by anybody known, and ${rules.name} ${takes}; ${advice}`);
}

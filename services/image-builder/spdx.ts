/** The part of SPDX 2.3 that our SBOMs are written in, as a schema. Pure. */
import { z } from 'zod';

const noAssertion = z.literal('NOASSERTION');
const elementId = z.string().regex(/^SPDXRef-[A-Za-z0-9.-]+$/);
/** UTC, to the second. */
const time = z.string().regex(/^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ$/);
const oneLine = z.string().regex(/^[^\p{Cc}]*$/u);

const SpdxPackage = z.strictObject({
  SPDXID: elementId,
  name: z.string().min(1),
  versionInfo: z.string().optional(),
  packageFileName: z.string().optional(),
  supplier: z.union([noAssertion, z.string().regex(/^Organization: [^\p{Cc}()]+$/u)]),
  downloadLocation: noAssertion,
  filesAnalyzed: z.literal(false),
  checksums: z.array(z.strictObject({ algorithm: z.literal('SHA256'), checksumValue: z.string().regex(/^[0-9a-f]{64}$/) })).optional(),
  sourceInfo: oneLine.optional(),
  licenseConcluded: noAssertion,
  /** An SPDX licence expression. */
  licenseDeclared: z.string().min(1),
  licenseComments: oneLine.optional(),
  copyrightText: noAssertion,
  comment: oneLine.optional(),
  externalRefs: z
    .array(
      z.strictObject({
        referenceCategory: z.literal('PACKAGE-MANAGER'),
        referenceType: z.literal('purl'),
        referenceLocator: z.string().regex(/^pkg:rpm\/\S+$/),
      }),
    )
    .optional(),
  primaryPackagePurpose: z.literal('OPERATING_SYSTEM').optional(),
  builtDate: time.optional(),
});
export type SpdxPackage = z.infer<typeof SpdxPackage>;

export const SpdxDocument = z.strictObject({
  spdxVersion: z.literal('SPDX-2.3'),
  dataLicense: z.literal('CC0-1.0'),
  SPDXID: z.literal('SPDXRef-DOCUMENT'),
  name: z.string().min(1),
  documentNamespace: z.string().regex(/^urn:uuid:[0-9a-f-]{36}$/),
  creationInfo: z.strictObject({ created: time, creators: z.array(z.string().regex(/^Tool: \S+$/)).min(1), comment: oneLine }),
  /** Licences that a package names by reference: SPDX wants each of them in the document. */
  hasExtractedLicensingInfos: z
    .array(z.strictObject({ licenseId: z.string().regex(/^LicenseRef-[A-Za-z0-9.-]+$/), extractedText: z.string().min(1), name: z.string().min(1) }))
    .optional(),
  packages: z.array(SpdxPackage).min(1),
  relationships: z.array(z.strictObject({ spdxElementId: elementId, relationshipType: z.enum(['DESCRIBES', 'CONTAINS']), relatedSpdxElement: elementId })),
});
export type SpdxDocument = z.infer<typeof SpdxDocument>;

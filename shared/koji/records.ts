/** A hub's answers as records of the port: what Koji sends is checked here, and nothing that it would not allow in a name gets through. Pure. */
import { z } from 'zod';
import { buildStates, type KojiBuild, type KojiRpm, type KojiTask, taskStates } from './koji.ts';
import { isPlausible } from './paths.ts';

const count = z.number().int().nonnegative();
const epoch = count.nullable().transform((value) => value ?? 0);

export const Build = z
  .object({
    id: count.optional(),
    build_id: count.optional(),
    nvr: z.string(),
    name: z.string(),
    version: z.string(),
    release: z.string(),
    epoch,
    state: z
      .number()
      .int()
      .min(0)
      .max(buildStates.length - 1),
    volume_name: z.string().nullish(),
  })
  .transform(({ id, build_id, state, volume_name, ...build }, context): KojiBuild => {
    const known = id ?? build_id;
    const volume = volume_name === 'DEFAULT' ? null : (volume_name ?? null);
    const stateName = buildStates[state];
    if (known === undefined || stateName === undefined) context.addIssue({ code: 'custom', message: 'has no build id' });
    if (!isPlausible({ ...build, arch: 'noarch' }) || (volume !== null && !/^[A-Za-z0-9][A-Za-z0-9._-]*$/.test(volume))) {
      context.addIssue({ code: 'custom', message: `names ${build.nvr.slice(0, 100)} in a way that Koji does not allow` });
    }
    return { ...build, id: known ?? 0, state: stateName ?? 'deleted', volume };
  });

export const Rpm = z
  .object({
    id: count,
    name: z.string(),
    version: z.string(),
    release: z.string(),
    epoch,
    arch: z.string(),
    size: count.nullish().transform((value) => value ?? 0),
    payloadhash: z.string().nullish(),
    metadata_only: z.boolean().nullish(),
  })
  .transform(({ payloadhash, metadata_only, ...rpm }, context): KojiRpm => {
    if (!isPlausible(rpm))
      context.addIssue({ code: 'custom', message: `names an RPM ${JSON.stringify(rpm.name.slice(0, 100))} in a way that Koji does not allow` });
    const hash = payloadhash?.toLowerCase();
    return { ...rpm, payloadHash: hash && /^[0-9a-f]{32}$/.test(hash) ? hash : null, isMetadataOnly: metadata_only ?? false };
  });

export const Signature = z.object({ sigkey: z.string() });

export const Task = z
  .object({
    id: count,
    method: z.string().max(100),
    state: z
      .number()
      .int()
      .min(0)
      .max(taskStates.length - 1),
    arch: z.string().nullish(),
  })
  .transform(({ id, method, state, arch }): KojiTask => ({ id, method, state: taskStates[state] ?? 'free', arch: arch ?? null }));

/** Tasks by the id of their parent, all those below one. */
export const Descendents = z.record(z.string(), z.array(z.object({ id: count, state: z.number().int() })));

/** File name → volume → what stat says; sizes are texts, since they may exceed 32 bits. */
export const TaskOutput = z.record(
  z.string(),
  z.record(z.string().regex(/^[A-Za-z0-9][A-Za-z0-9._-]*$/), z.object({ st_size: z.union([z.string(), count]).transform(Number).pipe(count).nullish() })),
);

const TagName = z
  .string()
  .regex(/^[A-Za-z0-9][A-Za-z0-9._+-]*$/)
  .max(256);
export const Inheritance = z.array(z.object({ name: TagName }));
export const Tag = z.object({ name: TagName });

/** A build as tag listings have it, with the tag that really holds it. */
export const TaggedBuild = z
  .object({ tag_name: TagName })
  .loose()
  .transform(({ tag_name }) => tag_name);

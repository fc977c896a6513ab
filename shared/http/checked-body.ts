/** Small bodies, checked against their schema in the route that takes them. Pure. */
import type { z } from 'zod';
import { Problem } from './problem.ts';

/** A small body that may be left out. */
export function checkedBody<T extends z.ZodType>(schema: T, body: unknown): z.output<T> {
  const parsed = schema.safeParse(body ?? {});
  if (parsed.success) return parsed.data;
  const errors = parsed.error.issues.map(({ path, message }) => ({ field: path.join('.'), code: 'FIELD_INVALID', message }));
  throw new Problem('REQUEST_INVALID', errors[0]?.message ?? 'the body is not valid', { errors });
}

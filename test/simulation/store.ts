/** The shared store as one process has it: with conflicts, refusals and lost answers, and every commit watched. */
import { SpindleError } from '../../shared/build/failure.ts';
import type { Collection } from '../../shared/store/store.ts';
import type { Faults } from './faults.ts';
import type { SimulatedProcess } from './process.ts';

export function faultyCollection<T extends { readonly id: string }>(
  collection: Collection<T>,
  process: SimulatedProcess,
  faults: Faults,
  committed: (after: T) => void,
): Collection<T> {
  const gated = async <R>(act: () => Promise<R>): Promise<R> => {
    await process.gate();
    if (faults.strikes('store refused')) throw new SpindleError('STORE_UNAVAILABLE', 'the simulated store refused');
    const result = await act();
    await process.gate();
    return result;
  };
  const answered = async <R>(result: R): Promise<R> => {
    if (faults.strikes('commit answer lost')) throw new SpindleError('STORE_UNAVAILABLE', 'the simulated store did not answer');
    return result;
  };
  /** Somebody else writes the same document again, a moment earlier. */
  const rewrite = async (id: string, expectedVersion: number): Promise<void> => {
    const found = await collection.get(id);
    if (found?.version === expectedVersion) await collection.replace(found.document, expectedVersion);
  };
  return {
    get: (id) => gated(() => collection.get(id)),
    find: (query) => gated(() => collection.find(query)),
    count: (query) => gated(() => collection.count(query)),
    insert: (document) =>
      gated(async () => {
        const isNew = await collection.insert(document);
        if (isNew) committed(document);
        return answered(isNew);
      }),
    replace: (document, expectedVersion) =>
      gated(async () => {
        if (faults.strikes('commit conflict')) await rewrite(document.id, expectedVersion);
        const isWritten = await collection.replace(document, expectedVersion);
        if (isWritten) committed(document);
        return answered(isWritten);
      }),
    remove: (id, expectedVersion) => gated(() => collection.remove(id, expectedVersion)),
  };
}

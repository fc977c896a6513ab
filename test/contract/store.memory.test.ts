/** The store in memory against the store contract. */
import { memoryStore } from '../../shared/store/memory.ts';
import { storeContract } from './store.contract.ts';

storeContract(
  'in memory',
  async () => {
    const reports: string[] = [];
    const store = memoryStore({ onCorrupt: (collection, id) => reports.push(`${collection}/${id}`) });
    return {
      store,
      reports,
      damage: async (collection, id, body) => {
        store.damage(collection, id, body);
        return store;
      },
      dispose: async () => {},
    };
  },
  { survivesRestart: false },
);

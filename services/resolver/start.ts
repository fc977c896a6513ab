/** Starts the resolver in a process, alone or beside others. */
import { type ServiceHost, startStage } from '../../shared/stage/service-host.ts';
import { uploadedRpmCollection } from '../../shared/uploads/uploaded-rpm.ts';
import { resolver } from './service.ts';

export async function startResolver(host: ServiceHost): Promise<void> {
  const { store, solver } = host.adapters;
  await startStage(host, resolver({ solver, uploads: await store.collection(uploadedRpmCollection) }));
}

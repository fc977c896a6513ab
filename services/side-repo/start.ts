/** Starts side-repo in a process, alone or beside others. */
import { type ServiceHost, startStage } from '../../shared/stage/service-host.ts';
import { sideRepo } from './service.ts';

export async function startSideRepo(host: ServiceHost): Promise<void> {
  await startStage(host, sideRepo);
}

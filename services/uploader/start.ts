/** Starts the uploader in a process, alone or beside others. */
import { type ServiceHost, startStage } from '../../shared/stage/service-host.ts';
import { uploader } from './service.ts';

export async function startUploader(host: ServiceHost): Promise<void> {
  await startStage(host, uploader);
}

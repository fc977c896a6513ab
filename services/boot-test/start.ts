/** Starts the boot test in a process, alone or beside others. */
import { type ServiceHost, startStage } from '../../shared/stage/service-host.ts';
import { qemuMachines } from './qemu-machine.ts';
import { bootTest } from './service.ts';

export async function startBootTest(host: ServiceHost): Promise<void> {
  const { programs, clock } = host.adapters;
  await startStage(host, bootTest({ virtualMachines: qemuMachines({ programs, clock }) }));
}

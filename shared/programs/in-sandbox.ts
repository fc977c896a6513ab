/** The programs port for one piece of work: whatever runs isolated, runs in its sandbox. Pure. */
import type { ProgramRequest, Programs, Sandbox } from './programs.ts';

/** A request may bring a sandbox of its own, which then also shows what is shown to all. */
export function inSandbox(programs: Programs, shared: Sandbox): Programs {
  const inside = (request: ProgramRequest): ProgramRequest => {
    if ((request.isolation ?? 'host') === 'host') return request;
    return { ...request, sandbox: { ...shared, ...request.sandbox, readOnly: [...(shared.readOnly ?? []), ...(request.sandbox?.readOnly ?? [])] } };
  };
  return { has: programs.has, run: (request) => programs.run(inside(request)), start: (request) => programs.start(inside(request)) };
}

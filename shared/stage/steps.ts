/** The numbered steps between which a process may die. The simulation crashes after each; nothing else uses them. */
export const steps = [
  'received',
  'claimed',
  'acknowledged',
  'handled',
  'committed',
  'relayed',
  'marked',
  'admitted',
  'reconciled',
  'letter-recorded',
  'letter-claimed',
  'letter-sent',
  'letter-marked',
] as const;
export type Step = (typeof steps)[number];

/** Told of each step as it is reached; what it returns is awaited. */
export type Probe = (step: Step, buildId: string) => Promise<void> | undefined;
